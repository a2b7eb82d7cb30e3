"""Labels that are likely wrong."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.narrow_model import make_narrow_model
from triage.dataset.manifest import LabelledPhoto
from triage.dataset.tables import read_table
from triage.domain.photos import PhotoScore
from triage.errors import UsageError
from triage.labelling.features import PhotoFeatures
from triage.labelling.suspects import find_suspects, write_suspects

WRONG = (3, 30, 50)


def _features(n: int = 60, wrong: tuple[int, ...] = WRONG, *, patients: bool = False) -> PhotoFeatures:
    """The features tell even photos, which are good, from odd ones; some labels are wrong."""
    card, _ = make_narrow_model()
    random = np.random.default_rng(0)
    truth = np.arange(n) % 2 == 0
    votes = [4 if good != (row in wrong) else 0 for row, good in enumerate(truth.tolist())]
    return PhotoFeatures(
        card,
        [
            LabelledPhoto(Path(f"{row}.png"), vote, n_votes=4, patient="one" if patients else f"p-{row}")
            for row, vote in enumerate(votes)
        ],
        np.column_stack([truth + 0.1 * random.normal(size=n), random.normal(size=(n, 3))]),
        [PhotoScore((0.5,) * 4, (0.5,) * 5, 0.5, 0)] * n,
        (),
    )


def test_wrong_labels_are_found_when_the_features_contradict_them() -> None:
    found = find_suspects(_features(), good_votes=2, n_reviewers=4)

    assert sorted(int(each.photo.path.stem) for each in found.photos) == sorted(WRONG)
    assert {each.photo.path.stem: each.is_good for each in found.photos} == {"3": True, "30": False, "50": False}
    assert all((each.p_good < 0.5) == each.is_good for each in found.photos)
    assert [each.margin for each in found.photos] == sorted((each.margin for each in found.photos), reverse=True)
    assert (found.n, found.n_good) == (60, 29)
    assert (found.bad_called_good, found.good_called_bad) == pytest.approx((1, 2), abs=0.9)


def test_nothing_is_found_when_labels_are_right() -> None:
    assert not find_suspects(_features(wrong=()), good_votes=2, n_reviewers=4).photos


def test_too_few_photos_or_patients_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 20 of each"):
        find_suspects(_features(30), good_votes=2, n_reviewers=4)
    with pytest.raises(UsageError, match="patients"):
        find_suspects(_features(patients=True), good_votes=2, n_reviewers=4)


def test_table_has_its_columns_when_there_is_no_suspect(tmp_path: Path) -> None:
    write_suspects(find_suspects(_features(wrong=()), good_votes=2, n_reviewers=4), tmp_path / "suspects.csv")

    columns, rows = read_table(tmp_path / "suspects.csv", ["path"])
    assert (columns[0], columns[-1], list(rows)) == ("path", "margin", [])


def test_table_has_a_row_for_each_suspect(tmp_path: Path) -> None:
    write_suspects(find_suspects(_features(), good_votes=2, n_reviewers=4), tmp_path / "suspects.csv")

    columns, rows = read_table(tmp_path / "suspects.csv", ["path"])
    assert columns == ["path", "patient", "split", "votes", "n_reviewers", "label", "predicted", "p_good", "margin"]
    assert {(row.text("patient"), row.text("label"), row.text("predicted")) for row in rows} == {
        ("p-3", "good", "bad"),
        ("p-30", "bad", "good"),
        ("p-50", "bad", "good"),
    }
