import numpy as np
import torch
from PIL import Image

from triage.imaging.photo import DecodedPhoto
from triage.model.patches import five_patches, resize_photo
from triage.samples.drawing import draw_skin_photo

CORNERS = {"top left": (0, 0), "top right": (0, 1), "bottom left": (1, 0), "bottom right": (1, 1)}


def test_windows_are_the_four_corners_and_the_centre() -> None:
    rows = torch.arange(448).view(1, 448, 1).expand(1, 448, 448)
    columns = torch.arange(448).view(1, 1, 448).expand(1, 448, 448)
    photo = torch.cat([rows, columns, rows])[None]  # channel 0 is the row, channel 1 the column

    [patches] = five_patches(photo)

    assert patches.shape == (5, 3, 224, 224)
    tops_and_lefts = [(int(patch[0, 0, 0]), int(patch[1, 0, 0])) for patch in patches]
    assert tops_and_lefts == [(0, 0), (0, 224), (224, 0), (224, 224), (112, 112)]
    assert (int(patches[4][0, -1, 0]), int(patches[4][1, 0, -1])) == (335, 335)


def test_resize_keeps_channels_and_stretches_the_photo_to_a_square() -> None:
    pixels = np.zeros((300, 600, 3), np.uint8)
    pixels[:, :300] = (200, 100, 50)

    photo = resize_photo(DecodedPhoto.of(Image.fromarray(pixels)))

    assert (photo.dtype, photo.shape) == (torch.uint8, (3, 448, 448))
    assert photo[:, 10, 10].tolist() == [200, 100, 50]
    assert photo[:, 10, -10].tolist() == [0, 0, 0]


def test_resize_is_antialiased_when_the_photo_is_large() -> None:
    checks = (np.indices((1792, 1792)).sum(0) % 2 * 255).astype(np.uint8)  # every other pixel is white

    photo = resize_photo(DecodedPhoto.of(Image.fromarray(np.repeat(checks[..., None], 3, axis=2))))

    assert photo.float().std() < 2  # grey; without antialiasing it would be black and white


def test_windows_of_one_resize_equal_five_resized_crops_inside_their_edges() -> None:
    image = draw_skin_photo(1, size=(900, 1100))
    patches = five_patches(resize_photo(DecodedPhoto.of(image))[None])[0].float() / 255

    for patch, (row, column) in zip(patches[:4], CORNERS.values(), strict=True):
        box = (column * 550, row * 450, (column + 1) * 550, (row + 1) * 450)
        resized = image.crop(box).resize((224, 224), Image.Resampling.BILINEAR)
        crop = torch.from_numpy(np.array(resized)).permute(2, 0, 1).float() / 255
        inside = (slice(None), slice(4, -4), slice(4, -4))
        assert (patch[inside] - crop[inside]).abs().max() <= 0.0041  # one level of 255
