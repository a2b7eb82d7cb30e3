"""How often the comparison of periods raises an alarm, in clinics without drift and in clinics with some.

    python -m benchmarks.drift

Clinics have three sources with 400 photos in the reference and 200 in the week, one of each thread. Drift makes the
photos of one source darker.
"""

import argparse

import numpy as np
from rich.progress import track

from triage.domain.ids import MessageId, new_id
from triage.domain.states import Outcome
from triage.reports.drift import compare_sources
from triage.statistics.proportions import Share
from triage.storage.drift_samples import SampledPhoto

SOURCES = ("app", "kiosk", "portal")
_FINDINGS = ("none", "defocus", "too_dark", "too_bright", "low_resolution", "no_skin", "motion")
_SHARES = (0.7, 0.12, 0.08, 0.04, 0.03, 0.02, 0.01)
_THRESHOLD = 0.4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clinics", type=int, default=2000)
    arguments = parser.parse_args()
    random = np.random.default_rng(1)
    for darker in (0.0, 0.05, 0.1, 0.2, 0.3):
        n = arguments.clinics if darker == 0 else arguments.clinics // 10
        found = [alarms(random, darker) for _ in track(range(n), f"darker by {darker}")]
        right, wrong = (
            Share(sum("kiosk" in each for each in found), n),
            Share(sum(each - {"kiosk"} != set() for each in found), n),
        )
        print(f"darker by {darker}: alarm for this source {_text(right)}, for another {_text(wrong)}")
        if not darker:
            print(f"  any alarm: {_text(Share(sum(map(bool, found)), n))}")


def alarms(random: np.random.Generator, darker: float) -> set[str]:
    """The sources of one clinic that raise an alarm."""
    old = [photo for source in SOURCES for photo in draw_photos(random, source, 400)]
    new = [
        photo
        for source in SOURCES
        for photo in draw_photos(random, source, 200, darker=darker if source == "kiosk" else 0)
    ]
    return {each["source"] for each in compare_sources(old, new) if each["drifted"]}


def draw_photos(random: np.random.Generator, source: str, n: int, *, darker: float = 0) -> list[SampledPhoto]:
    """One photo of each of n threads. Darkness lowers the score and makes `too_dark` more frequent."""
    quality = random.beta(4, 2, size=n) - darker * random.random(n)
    kinds = np.where(random.random(n) < darker, "too_dark", random.choice(_FINDINGS, size=n, p=_SHARES))
    formats = random.choice(["image/jpeg", "image/heic", "image/png"], size=n, p=[0.8, 0.18, 0.02])
    return [
        SampledPhoto(
            source,
            MessageId(new_id()),
            float(score),
            str(kind),
            str(media_type),
            Outcome.RETAKE if score < _THRESHOLD else Outcome.PASS,
        )
        for score, kind, media_type in zip(quality, kinds, formats, strict=True)
    ]


def _text(share: Share) -> str:
    low, high = share.interval or (0, 1)
    return f"{share.k} of {share.n} ({100 * low:.1f} to {100 * high:.1f} %)"


if __name__ == "__main__":
    main()
