import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from tests.support.narrow_model import draw_narrow_network, make_narrow_model
from triage.domain.card import Card, Head, Recalibration
from triage.imaging.photo import DecodedPhoto
from triage.model.artifact import read_artifact
from triage.model.map_picture import colours_of
from triage.model.network import OrdinalVGG16
from triage.model.patches import resize_photo
from triage.model.quality_map import MAP_SIDE, QualityMap, map_quality
from triage.model.starter import STARTER_FOLDER
from triage.model.weights import load_network
from triage.samples.drawing import draw_skin_photo


def _photo(seed: int = 1) -> torch.Tensor:
    return resize_photo(DecodedPhoto.of(draw_skin_photo(seed, size=(480, 360))))


@pytest.mark.parametrize("head", ["coral", "independent"])
def test_cells_sum_to_the_patch_scores(head: Head) -> None:
    network = draw_narrow_network(head=head).eval()
    recalibration = Recalibration(slope=1.5, intercepts=(1, 0.5, -0.3, -0.3))
    card, _ = make_narrow_model(network, head=head, good_votes=3, recalibration=recalibration)
    photo = _photo()
    with torch.inference_mode():
        logits = network(photo.unsqueeze(0))[0, :, card.good_votes - 1].numpy()

    quality = map_quality(network, card, photo)

    assert quality.cells.shape == (5, 7, 7)
    assert np.abs(quality.logits - logits).max() < 1e-4
    assert np.ptp(quality.cells) > 0.01  # not all alike


def test_cells_change_where_the_photo_changes() -> None:
    network = draw_narrow_network().eval()
    card, _ = make_narrow_model(network)
    photo = _photo()
    changed = photo.clone()
    changed[:, 32:64, 128:160] = 0  # the cell in row 1 and column 4 of the patch at the top left

    change = np.abs(map_quality(network, card, changed).cells - map_quality(network, card, photo).cells)

    rows, columns = np.nonzero(change[0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 2, 3, 5)
    assert change[1:4].max() == 0


def test_cell_is_neutral_when_the_patch_has_the_score_of_the_threshold() -> None:
    network = draw_narrow_network()
    card, _ = make_narrow_model(
        network, threshold=0.7, recalibration=Recalibration(slope=2, intercepts=(1, 0.5, -1, -2))
    )

    quality = map_quality(network, card, _photo())

    logit = 49 * quality.neutral + quality.bias
    assert 1 / (1 + np.exp(-(2 * logit + 0.5))) == pytest.approx(0.7)


def test_map_lays_the_patches_over_the_photo_and_averages_where_they_overlap() -> None:
    cells = np.stack([np.full((7, 7), value, np.float32) for value in (1, 2, 3, 4, 10)])

    laid = QualityMap(cells, bias=0.0, neutral=0.0).over_photo()

    assert laid.shape == (MAP_SIDE, MAP_SIDE)
    corners = (laid[0, 0], laid[0, -1], laid[-1, 0], laid[-1, -1])
    assert corners == (1, 2, 3, 4)
    assert (laid[7, 7], laid[7, 20], laid[20, 7], laid[20, 20]) == (5.5, 6, 6.5, 7)
    assert (laid[6, 7], laid[7, 6], laid[21, 20]) == (1, 1, 4)


def test_map_keeps_rows_and_columns_apart() -> None:
    cells = np.zeros((5, 7, 7), np.float32)
    cells[0, 1, 3] = 1  # the second row of the patch at the top left

    assert np.argwhere(QualityMap(cells, bias=0.0, neutral=0.0).over_photo()).tolist() == [
        [2, 6],
        [2, 7],
        [3, 6],
        [3, 7],
    ]


def test_colours_tell_better_from_worse() -> None:
    cells = np.full((5, 7, 7), 0.02, np.float32)
    cells[0], cells[1], cells[4] = 1, -1, 0.02

    colours = colours_of(QualityMap(cells, bias=0.0, neutral=0.02))

    assert colours[0, 0].tolist() == [0, 114, 178]
    assert colours[0, -1].tolist() == [230, 159, 0]
    assert colours[-1, 0].tolist() == [235, 235, 235]
    assert colours_of(QualityMap(cells, bias=0.0, neutral=float("inf")))[-1, 0].tolist() == [230, 159, 0]


def test_starter_model_finds_the_blurred_quarter() -> None:
    card, weights = read_artifact(STARTER_FOLDER)
    network = load_network(card, weights)
    sharp = draw_skin_photo(3, size=(448, 448))

    for quarter in range(2):
        top, left = 224 * (quarter // 2), 224 * (quarter % 2)
        changed = _lowered(network, card, sharp, (left, top))
        assert int(np.argmin(changed)) == quarter


def _lowered(network: OrdinalVGG16, card: Card, sharp: Image.Image, corner: tuple[int, int]) -> list[float]:
    """The mean change of each quarter's squares when the one at `corner` is blurred."""
    left, top = corner
    box = (left, top, left + sharp.width // 2, top + sharp.height // 2)
    blurred = sharp.copy()
    blurred.paste(sharp.crop(box).filter(ImageFilter.GaussianBlur(8)), corner)
    before, after = (
        map_quality(network, card, resize_photo(DecodedPhoto.of(each))).over_photo() for each in (sharp, blurred)
    )
    half = MAP_SIDE // 2
    return [float((after - before)[i : i + half, j : j + half].mean()) for i in (0, half) for j in (0, half)]
