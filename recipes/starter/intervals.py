"""Intervals of the starter model's figures that an evaluation has none for, and its needless share in the demo."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr

from triage.samples.drawing import SkinTone, draw_sample_messages
from triage.statistics.proportions import wilson_interval

_RESAMPLED: Final = 2000
_QUANTILES: Final = (0.025, 0.975)

Floats = NDArray[np.float64]


def correlation_intervals(scores: Floats, ratings: Floats) -> dict[str, list[float]]:
    """Bootstrap over photos, 95 %, of Spearman's and Pearson's correlation."""
    rows = _resampled(len(scores))
    found = np.array([[measure(scores[r], ratings[r]).statistic for measure in (spearmanr, pearsonr)] for r in rows])
    low, high = np.quantile(found, _QUANTILES, axis=0)
    return {name: [float(low[i]), float(high[i])] for i, name in enumerate(("srcc_ci", "plcc_ci"))}


def needless_in_demo(scores: Floats, good: NDArray[np.bool_], threshold: float) -> dict[str, Any]:
    """The share of needless requests if as many photos were good as the demo draws, by sensitivity and specificity.

    The interval is a bootstrap over the photos that the two were measured on.
    """
    drawn = [photo for message in draw_sample_messages() for photo in message.photos]
    share = sum(photo.degradation is None for photo in drawn) / len(drawn)

    def needless(rows: NDArray[np.int64]) -> float:
        fails, is_good = scores[rows] < threshold, good[rows]
        wrong, right = share * fails[is_good].mean(), (1 - share) * fails[~is_good].mean()
        return float(wrong / (wrong + right))

    low, high = np.quantile([needless(rows) for rows in _resampled(len(scores))], _QUANTILES)
    value = needless(np.arange(len(scores)))
    return {"good_share": share, "needless_retake_share": value, "interval": [float(low), float(high)]}


def skin_intervals(skin: Mapping[str, Any], *, drawn_per_tone: int) -> dict[str, Any]:
    """Wilson's intervals, 95 %, of the shares that `recipes.starter.describing` counts on skin."""

    def of(share: float, n: int) -> tuple[float, float] | None:
        return wilson_interval(round(share * n), n)

    n = skin["n"]
    falls = skin["score_falls_at_every_step"]
    return {
        "accepted": of(skin["accepted"], n),
        "accepted_at_worst": {kind: of(share, n) for kind, share in skin["accepted_at_worst"].items()},
        "score_falls_at_every_step": {
            kind: of(share, n * (len(falls) - 1) if kind == "all" else n) for kind, share in falls.items()
        },
        "drawn_accepted_by_tone": {
            tone.name: of(skin["drawn_accepted_by_tone"][tone.name], drawn_per_tone) for tone in SkinTone
        },
    }


def _resampled(n: int) -> list[NDArray[np.int64]]:
    random = np.random.default_rng(0)
    return [random.integers(0, n, n) for _ in range(_RESAMPLED)]
