"""Rates at every threshold."""

import numpy as np
import pytest

from triage.evaluation.sweep import sweep


def test_counts_are_those_of_each_threshold() -> None:
    scores = np.array([0.1, 0.3, 0.3, 0.55, 0.9])
    good = np.array([False, False, True, True, True])

    rows = {row.threshold: row for row in sweep(scores, good, 0.555)}

    assert len(rows) == 102
    assert [threshold for threshold, row in rows.items() if row.in_use] == [0.555]
    for threshold, row in rows.items():
        passes = scores >= threshold
        counts = row.counts
        assert (counts.tp, counts.fp) == (int((passes & good).sum()), int((passes & ~good).sum()))
        assert row.requests_per_1000 == pytest.approx(1000 * (~passes).mean())
    document = rows[0.3].json()
    assert (document["sensitivity"], document["specificity"], document["ppv"]) == (1.0, 0.5, 0.75)
    assert (document["needless_retake_share"], rows[0.0].json()["npv"]) == (0.0, None)
    assert (rows[0.0].requests_per_1000, rows[1.0].requests_per_1000) == (0.0, 1000.0)
