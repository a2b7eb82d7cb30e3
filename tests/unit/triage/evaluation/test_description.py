import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from triage.dataset.manifest import LabelledPhoto, Manifest, Split
from triage.evaluation.description import describe


def _photo(*reviews: int | None, votes: int = 0) -> LabelledPhoto:
    return LabelledPhoto(Path("x.png"), votes, reviews)


def test_photos_are_counted_as_in_table_1_when_they_are_split() -> None:
    photos = [
        LabelledPhoto(Path("a"), 4, source="patient", fitzpatrick="II", split=Split.TRAIN),
        LabelledPhoto(Path("b"), 1, source="PCP", fitzpatrick="III", split=Split.TRAIN),
        LabelledPhoto(Path("c"), 4, source="patient", fitzpatrick="IV", split=Split.TRAIN),
        LabelledPhoto(Path("d"), 2, split=Split.TEST),
    ]

    document = describe(Manifest(photos, 4))

    assert (document["n"], document["n_reviewers"], document["n_good"]) == (4, 4, 3)
    assert document["by_split"]["train"] == {
        "n": 3,
        "patients": None,
        "votes": [0, 1, 0, 0, 2],
        "n_good": 2,
        "fitzpatrick": {"I-III": 2, "IV-VI": 1, "not given": 0},
        "sources": {"PCP": 1, "patient": 2},
    }
    assert document["by_split"]["test"]["votes"] == [0, 0, 1, 0, 0]
    assert document["by_split"]["test"]["fitzpatrick"]["not given"] == 1
    assert set(document["by_split"]) == {"train", "test"}


@pytest.mark.parametrize(("good_votes", "n_good"), [(1, 4), (2, 3), (3, 2), (4, 1)])
def test_number_of_good_photos_depends_on_good_votes(good_votes: int, n_good: int) -> None:
    photos = [LabelledPhoto(Path(str(votes)), votes) for votes in range(5)]

    document = describe(Manifest(photos, 4), good_votes=good_votes)

    assert document["n_good"] == document["by_split"]["not split"]["n_good"] == n_good


def test_reviewers_are_none_when_only_votes_are_known() -> None:
    document = describe(Manifest([LabelledPhoto(Path("a"), 3)], 4))

    assert document["reviewers"] is None
    assert document["agreement"] is None


def test_each_reviewer_is_described_as_in_table_3_when_reviews_are_known() -> None:
    photos = [_photo(1, 1, 1), _photo(1, 0, 0), _photo(0, 0, None), _photo(1, None, 1)]

    ann, bo, cy = describe(Manifest(photos, 3, ("ann", "bo", "cy")))["reviewers"]

    assert ann == {"reviewer": "ann", "n": 4, "good": 3, "good_share": 0.75, "with_majority": 0.75}
    assert (bo["n"], bo["good"], bo["good_share"]) == (3, 1, pytest.approx(1 / 3))
    assert bo["with_majority"] == 1.0  # on the second photo the other two are tied, so it is not counted
    assert (cy["n"], cy["good"], cy["good_share"]) == (3, 2, pytest.approx(2 / 3))


def test_reviewer_has_no_shares_when_no_other_reviewer_voted() -> None:
    [ann, bo] = describe(Manifest([_photo(1, None)], 2, ("ann", "bo")))["reviewers"]

    assert (ann["good_share"], ann["with_majority"]) == (1.0, None)
    assert (bo["n"], bo["good_share"], bo["with_majority"]) == (0, None, None)


def test_agreement_is_perfect_when_all_reviews_are_alike() -> None:
    photos = [_photo(1, 1), _photo(0, 0), _photo(1, 1)]

    agreement = describe(Manifest(photos, 2, ("ann", "bo")))["agreement"]

    assert agreement["krippendorff_alpha"] == pytest.approx(1)
    assert agreement["unanimous_share"] == 1.0
    [pair] = agreement["kappa"]
    assert (pair["reviewers"], pair["n"], pair["kappa"]) == (["ann", "bo"], 3, pytest.approx(1))


def test_agreement_equals_the_formulas_when_reviewers_differ() -> None:
    photos = [_photo(1, 1), _photo(0, 0), _photo(1, 0), _photo(0, 0)]

    agreement = describe(Manifest(photos, 2, ("ann", "bo")))["agreement"]

    assert agreement["unanimous_share"] == 0.75
    assert agreement["kappa"][0]["kappa"] == pytest.approx((0.75 - 0.5) / (1 - 0.5))
    assert agreement["krippendorff_alpha"] == pytest.approx(1 - 7 * 2 / (2 * 3 * 5))


def test_unanimity_is_of_those_who_voted_when_reviewers_rotate() -> None:
    photos = [_photo(1, 1, None), _photo(None, 1, 0), _photo(0, None, 0), _photo(1, None, None)]

    agreement = describe(Manifest(photos, 2, ("ann", "bo", "cy")))["agreement"]

    assert (agreement["n"], agreement["unanimous_share"]) == (3, pytest.approx(2 / 3))
    assert [pair["n"] for pair in agreement["kappa"]] == [1, 1, 1]


def test_intervals_of_agreement_are_wider_when_photos_are_of_few_patients() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 40)
    photos = []
    for patient, good in enumerate(truth):
        votes = [int(good if random.random() < 0.8 else 1 - good) for _ in range(2)]
        photos += [
            LabelledPhoto(Path(f"{patient}-{n}"), sum(votes), tuple(votes), patient=str(patient)) for n in (1, 2, 3)
        ]
    apart = [replace(photo, patient=None) for photo in photos]

    together = describe(Manifest(photos, 2, ("ann", "bo")))["agreement"]
    alone = describe(Manifest(apart, 2, ("ann", "bo")))["agreement"]

    assert together["krippendorff_alpha"] == alone["krippendorff_alpha"]
    (low, high), (near, far) = together["krippendorff_alpha_ci"], alone["krippendorff_alpha_ci"]
    assert low < together["krippendorff_alpha"] < high
    assert high - low > 1.3 * (far - near)
    (low, high), (near, far) = together["kappa"][0]["interval"], alone["kappa"][0]["interval"]
    assert high - low > 1.3 * (far - near)


def test_description_is_json_when_reviews_are_missing() -> None:
    photos = [_photo(1, None), _photo(None, 0), _photo(None, None)]

    document = describe(Manifest(photos, 2, ("ann", "bo")))

    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["agreement"]["unanimous_share"] is None
    assert document["agreement"]["krippendorff_alpha"] is None
