"""What a network computes for photos, and the file that keeps it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.narrow_model import add_reasons, draw_narrow_network, make_narrow_model
from triage.dataset.manifest import Box, LabelledPhoto
from triage.domain.card import Card
from triage.domain.states import FindingKind
from triage.errors import UsageError
from triage.imaging.decode import Decoder
from triage.imaging.limits import ImageLimits
from triage.labelling.feature_file import FeatureFile
from triage.labelling.features import PhotoFeatures, read_features
from triage.model.engines.torch_exact import CPU, TorchEngine
from triage.model.patches import resize_photo
from triage.model.scorer import Scorer
from triage.model.weights import load_network
from triage.samples.drawing import SkinTone, draw_skin_photo


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[LabelledPhoto]:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        draw_skin_photo(number, tone=SkinTone.III, size=(300, 260)).save(folder / f"{number}.png")
    return [LabelledPhoto(folder / f"{number}.png", number, n_votes=4) for number in range(3)]


def _read(card: Card, weights: bytes, photos: list[LabelledPhoto], file: Path | None = None) -> PhotoFeatures:
    return read_features(card, weights, photos, device=CPU, limits=ImageLimits(), file=file)


@pytest.mark.parametrize("with_reasons", [False, True])
def test_scores_are_the_scorers_when_photos_are_read(photos: list[LabelledPhoto], *, with_reasons: bool) -> None:
    network = draw_narrow_network()
    reasons = add_reasons(network, FindingKind.DEFOCUS) if with_reasons else None
    card, weights = make_narrow_model(network, reasons=reasons)

    found = _read(card, weights, photos)

    scorer = Scorer.of(card, TorchEngine(load_network(card, weights)))
    with Decoder(ImageLimits()) as decoder:
        expected = scorer.score([resize_photo(decoder.decode(photo.path.read_bytes())) for photo in photos])
    assert [score.score for score in found.scores] == pytest.approx([score.score for score in expected])
    for one, other in zip(found.scores, expected, strict=True):
        assert one.patch_scores == pytest.approx(other.patch_scores)
    assert found.features.shape == (3, 2 * (4 + 4 * 8))
    assert np.isfinite(found.features).all()


def test_photo_is_left_out_and_counted_when_it_cannot_be_read(photos: list[LabelledPhoto], tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes(photos[0].path.read_bytes()[:500])
    others = [LabelledPhoto(tmp_path / name, 0, n_votes=0) for name in ("torn.png", "missing.png")]

    found = _read(*make_narrow_model(), [*others, *photos])

    assert found.photos == photos
    assert [(each.path.name, each.code) for each in found.unread] == [
        ("torn.png", "truncated"),
        ("missing.png", "fetch_failed"),
    ]
    with pytest.raises(UsageError, match="no photo can be read"):
        _read(*make_narrow_model(), others)


def test_network_does_not_run_again_when_the_file_has_the_photo(
    photos: list[LabelledPhoto], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "features.safetensors"
    model, other = make_narrow_model(), make_narrow_model(draw_narrow_network(seed=2))
    first = _read(*model, photos[:2], file)
    second = _read(*other, photos, file)
    _read(*model, photos, file)

    def refuse(*_: object) -> torch.Tensor:
        raise AssertionError("the network ran")

    monkeypatch.setattr("triage.model.network.OrdinalVGG16.blocks_of", refuse)
    again, again_other = _read(*model, photos, file), _read(*other, photos, file)

    assert again.features[:2].tolist() == first.features.tolist()
    assert again.scores[:2] == first.scores
    assert again_other.scores == second.scores
    assert again_other.scores != again.scores


def test_scores_follow_the_card_when_features_come_from_the_file(photos: list[LabelledPhoto], tmp_path: Path) -> None:
    card, weights = make_narrow_model()
    mean = _read(card, weights, photos, tmp_path / "f").scores

    worst = _read(card.model_copy(update={"pooling": "min"}), weights, photos, tmp_path / "f").scores

    assert [score.score for score in worst] == pytest.approx([min(score.patch_scores) for score in mean])


def test_region_of_interest_is_what_the_network_sees_when_it_was_trained_so(
    photos: list[LabelledPhoto], tmp_path: Path
) -> None:
    card, weights = make_narrow_model(training_settings={"region_of_interest": True})
    box = LabelledPhoto(photos[0].path, 0, box=Box(10, 10, 120, 120), n_votes=0)
    outside = LabelledPhoto(photos[0].path, 0, box=Box(9000, 9000, 9010, 9010), n_votes=0)

    found = _read(card, weights, [photos[0], box, outside], tmp_path / "f")

    assert found.scores[0] != found.scores[1]
    assert [each.code for each in found.unread] == ["box_outside_photo"]


@pytest.mark.parametrize("content", [b"", b"path,score\n"])
def test_other_file_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "predictions.csv"
    path.write_bytes(content)

    with pytest.raises(UsageError, match="no file of features"):
        FeatureFile(path, "0" * 64)

    assert path.read_bytes() == content
