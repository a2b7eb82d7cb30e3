"""Which photos to label next."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.narrow_model import make_narrow_model
from triage.dataset.manifest import LabelledPhoto, Split
from triage.domain.photos import PhotoScore
from triage.errors import UsageError
from triage.labelling.choice import choose_next, value_labels
from triage.labelling.features import PhotoFeatures


def _features(
    *scores: float, votes: int = 0, spread: float = 0.0, features: list[float] | None = None
) -> PhotoFeatures:
    """Photos with the same features unless they are given, by a model with the threshold one half."""
    card, _ = make_narrow_model()
    steps = np.linspace(-spread, spread, 5)
    return PhotoFeatures(
        card,
        [LabelledPhoto(Path(f"{row}.png"), 0, n_votes=votes) for row in range(len(scores))],
        np.array([[value] for value in features or range(len(scores))], dtype=np.float64),
        [PhotoScore((score,) * 4, tuple((score + steps).tolist()), score, 0) for score in scores],
        (),
    )


def test_value_is_highest_at_the_threshold_of_the_model() -> None:
    features = _features(0.05, 0.3, 0.5, 0.9)

    assert value_labels(features).sum.argmax() == 2
    assert value_labels(replace(features, card=features.card.model_copy(update={"threshold": 0.3}))).sum.argmax() == 1


def test_disagreement_of_patches_is_shown_and_ranks_nothing() -> None:
    alike, unlike = value_labels(_features(0.5)), value_labels(_features(0.5, spread=0.4))

    assert alike.patches[0] == pytest.approx(0, abs=1e-9)
    assert unlike.patches[0] > 0.1
    assert unlike.sum[0] == alike.sum[0]


def test_value_is_higher_when_two_models_disagree() -> None:
    found = value_labels(_features(0.9, 0.9), _features(0.9, 0.1))

    assert found.models is not None
    assert found.models.tolist() == pytest.approx([0, 0.531], abs=1e-3)
    assert found.sum[1] > found.sum[0] + 0.9


def test_copies_of_the_best_photo_come_last_when_photos_are_chosen() -> None:
    features = _features(0.5, 0.5, 0.45, 0.4, features=[0.0, 0.0, 3.0, -4.0])

    chosen = choose_next(features, 4)

    assert [each.photo.path.name for each in chosen] == ["0.png", "2.png", "3.png", "1.png"]
    assert chosen[0].distance is None
    assert chosen[3].distance == pytest.approx(0)


def test_labelled_photos_are_known_and_not_chosen() -> None:
    features = _features(*[0.5] * 5, features=[0.0, 0.1, 3.0, 4.0, 5.0])  # the second is like the known one
    known = LabelledPhoto(Path("known.png"), 2, n_votes=2)

    chosen = choose_next(replace(features, photos=[known, *features.photos[1:]]), 9)

    assert {each.photo.path.name for each in chosen[:3]} == {"2.png", "3.png", "4.png"}


@pytest.mark.parametrize("split", [Split.VALIDATION, Split.TEST])
def test_photo_with_one_vote_is_chosen_unless_it_is_to_judge_models(split: Split) -> None:
    features = _features(0.5, votes=1)
    assert len(choose_next(features, 1)) == 1

    held_out = replace(features, photos=[replace(features.photos[0], split=split)])

    with pytest.raises(UsageError, match="no photo to learn from"):
        choose_next(held_out, 1)
