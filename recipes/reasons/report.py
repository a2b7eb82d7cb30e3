"""The tables of `docs/findings.md` about learned reasons, on photos that neither the head nor the network has seen."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from recipes.reasons.collecting import Part, key_of
from recipes.reasons.fitting import GOOD, KINDS, Collected, Fitted, Looks, is_plain, predict
from triage.domain.states import FindingKind
from triage.evaluation.calibration import CalibrationBin, calibration_bins
from triage.evaluation.reasons import average_precision
from triage.statistics.agreement import pairwise_kappa
from triage.statistics.proportions import wilson_interval


class HeldOut:
    """The head's answers for the test photos."""

    def __init__(self, fitted: Fitted, collected: Collected) -> None:
        test = collected.of(Part.TEST)
        test = test.where(np.array([FindingKind.NO_SKIN not in sample.causes for sample in test.samples]))
        self.head = fitted.head
        self.samples = test.samples
        self.probabilities = predict(fitted.head, fitted.layer, test)
        self.given = test.photos.given
        self.fails = test.photos.fails
        self.n_causes = np.array([len(sample.causes) for sample in test.samples])
        self.is_drawn = np.array([sample.source == "drawn" for sample in test.samples])
        self.order = np.argsort(-self.probabilities, axis=1)


class LookedAt:
    """The answers for photos that were looked at twice, by heads that were not fitted to them.

    Attributes:
        rows: of each photo, the sample, the looks and the probabilities.
    """

    def __init__(self, fitted: Fitted, held_out: HeldOut, looks: Mapping[str, Looks]) -> None:
        answers = [
            *zip(fitted.natural.samples, fitted.probabilities, strict=True),
            *zip(held_out.samples, held_out.probabilities, strict=True),
        ]
        self.rows = [
            (sample, seen, row)
            for sample, row in answers
            if not (sample.causes or sample.tone) and (seen := looks.get(key_of(sample))) and seen.second
        ]
        self.named_from = next(iter(fitted.head.reasons.values())).named_from


def tables(held_out: HeldOut, looked: LookedAt) -> dict[str, str]:
    return {
        "reasons-looked": table_of(
            (
                "photos that fail, looked at twice",
                "n",
                "good at both looks",
                "same main reason",
                "a common reason",
                "likeliest reason seen",
                "one of the likeliest two seen",
                "with a reason",
            ),
            _looked(looked),
        ),
        "reasons-single": table_of(
            ("photos with one cause", "n", "right reason first", "among the first two"), _single(held_out)
        ),
        "reasons-pairs": table_of(("photos with two causes", "n", "both among the first three"), _pairs(held_out)),
        "reasons-named": table_of(("photos as they are", "n", "with a reason", "no clear reason"), _named(held_out)),
        "reasons-quality": table_of(
            ("reason", "with / without", "precision", "recall", "F1", "average precision", "kappa"),
            _quality(held_out),
        ),
        "reasons-reliability": table_of(
            ("reason", "predicted: observed (n), by fifths of the photos"), _bins(held_out)
        ),
        "reasons-tones": table_of(
            ("drawn skin", "n", "passes", "sharp: with a reason", "degraded: right reason first"), _tones(held_out)
        ),
    }


def seen_in(looks: Looks) -> set[str]:
    """The reasons of either look; none if there was nothing to improve."""
    return {*looks.first, *looks.second} - {GOOD}


def _single(h: HeldOut) -> Iterator[Sequence[object]]:
    truth = h.given.argmax(axis=1)
    single = (h.n_causes == 1) & ~h.is_drawn
    plain = np.array([is_plain(sample) for sample in h.samples])
    rows = [
        ("degraded as by `degrade`, strengths .2 to .75", single & plain),
        ("those that fail", single & plain & h.fails),
    ]
    rows += [
        (f"`{kind}`", single & plain & (truth == index))
        for index, kind in enumerate(KINDS)
        if (single & plain & (truth == index)).any()
    ]
    rows.append(("any single cause", single))
    rows += [
        (f"`{kind}`", single & ~plain & (truth == index))
        for index, kind in enumerate(KINDS)
        if (single & ~plain & (truth == index)).any()
    ]
    rows.append(("any single cause, of photos that fail", single & h.fails))
    for name, chosen in rows:
        first = h.order[chosen, 0] == truth[chosen]
        second = first | (h.order[chosen, 1] == truth[chosen])
        yield name, int(chosen.sum()), percent_of(first), percent_of(second)


def _pairs(h: HeldOut) -> Iterator[Sequence[object]]:
    pairs = (h.n_causes == 2) & ~h.is_drawn
    for name, chosen in (("all", pairs), ("that fail", pairs & h.fails)):
        both = np.array([h.given[row, h.order[row, :3]].sum() == 2 for row in np.flatnonzero(chosen)])
        yield name, int(chosen.sum()), percent_of(both)


def _named(h: HeldOut) -> Iterator[Sequence[object]]:
    reasons = list(h.head.reasons.values())
    likeliest = h.probabilities.max(axis=1)
    natural = (h.n_causes == 0) & ~h.is_drawn
    for source, title in (("clive", "scenes"), ("pad", "skin"), ("", "all")):
        of_source = natural & np.array([not source or sample.source == source for sample in h.samples])
        for name, chosen, limit in (
            (f"{title} that fail", of_source & h.fails, reasons[0].named_from),
            (f"{title} that pass", of_source & ~h.fails, reasons[0].advised_from),
        ):
            named = likeliest[chosen] >= limit
            yield name, int(chosen.sum()), percent_of(named), percent_of(~named) if "fail" in name else ""


def _looked(looked: LookedAt) -> Iterator[Sequence[object]]:
    for source, title in (("", "all"), ("clive", "scenes"), ("pad", "skin")):
        rows = [(seen, row) for sample, seen, row in looked.rows if not source or sample.source == source]
        bad = [(seen, row) for seen, row in rows if seen_in(seen)]
        seen_of = [seen_in(seen) for seen, _ in bad]
        likeliest = [[KINDS[index] for index in np.argsort(-row)] for _, row in bad]
        yield (
            title,
            len(rows),
            len(rows) - len(bad),
            percent_of(np.array([seen.first[0] == seen.second[0] for seen, _ in rows])),
            percent_of(np.array([bool({*seen.first} & {*seen.second}) for seen, _ in rows])),
            percent_of(np.array([kinds[0] in reasons for kinds, reasons in zip(likeliest, seen_of, strict=True)])),
            percent_of(
                np.array([bool({*kinds[:2]} & reasons) for kinds, reasons in zip(likeliest, seen_of, strict=True)])
            ),
            percent_of(np.array([row.max() >= looked.named_from for _, row in bad])),
        )


def _quality(h: HeldOut) -> Iterator[Sequence[object]]:
    known = ~h.is_drawn & np.isfinite(h.given).all(axis=1)
    for index, (kind, reason) in enumerate(h.head.reasons.items()):
        has_reason, probability = h.given[known, index] == 1, h.probabilities[known, index]
        is_named = probability >= reason.named_from
        both = (has_reason & is_named).sum()
        [kappa] = pairwise_kappa(np.stack([is_named, has_reason], 1).astype(float)).values()
        yield (
            f"`{kind}`",
            f"{has_reason.sum()} / {(~has_reason).sum()}",
            f"{both / max(1, is_named.sum()):.2f}",
            f"{both / max(1, has_reason.sum()):.2f}",
            f"{2 * both / max(1, is_named.sum() + has_reason.sum()):.2f}",
            f"{average_precision(probability, has_reason) or 0:.2f}",
            "" if kappa is None else f"{kappa:.2f}",
        )


def reliability(h: HeldOut) -> dict[str, list[CalibrationBin]]:
    """Of each reason, the fifths of the degraded photos that fail."""
    chosen = ~h.is_drawn & h.fails & (h.n_causes > 0)
    return {
        str(kind): calibration_bins(h.probabilities[chosen, index], h.given[chosen, index] == 1, 5)
        for index, kind in enumerate(KINDS)
    }


def _bins(h: HeldOut) -> Iterator[Sequence[object]]:
    for kind, bins in reliability(h).items():
        yield f"`{kind}`", ", ".join(f"{b.predicted:.2f}: {b.observed:.2f} ({b.n})" for b in bins)


def _tones(h: HeldOut) -> Iterator[Sequence[object]]:
    truth = h.given.argmax(axis=1)
    limit = next(iter(h.head.reasons.values())).advised_from
    for tone in ("I", "II", "III", "IV", "V", "VI"):
        of_tone = h.is_drawn & np.array([sample.tone == tone for sample in h.samples])
        sharp, degraded = of_tone & (h.n_causes == 0), of_tone & (h.n_causes == 1)
        yield (
            f"tone {tone}",
            int(of_tone.sum()),
            percent_of(~h.fails[sharp]),
            percent_of(h.probabilities[sharp].max(axis=1) >= limit) if sharp.any() else "",
            percent_of(h.order[degraded, 0] == truth[degraded]),
        )


def percent_of(found: NDArray[np.bool_]) -> str:
    """The share, and its Wilson interval."""
    interval = wilson_interval(int(found.sum()), len(found))
    if interval is None:
        return ""
    low, high = interval
    return f"{100 * found.mean():.1f} % ({100 * low:.0f} to {100 * high:.0f})"


def table_of(columns: Sequence[str], rows: Iterator[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
