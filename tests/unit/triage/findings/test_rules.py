"""Findings on drawn photos, sharp and degraded."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from triage.domain.photos import Finding
from triage.domain.states import FindingKind, FindingLevel
from triage.findings.measures import measure_photo
from triage.findings.rules import load_models, measure_findings
from triage.imaging.degradation import Degradation, add_glare, degrade, shake, tint
from triage.imaging.formats import MediaType
from triage.imaging.photo import DecodedPhoto, turn_upright
from triage.samples.drawing import SkinTone, draw_skin_photo

SIZES = ((420, 560), (900, 900))
WARM, COLD, GREEN = (1.45, 0.95, 0.40), (0.55, 1.0, 1.45), (0.70, 1.2, 0.70)
BLUR = {FindingKind.DEFOCUS, FindingKind.MOTION}


def _small(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image.resize((448, 448), Image.Resampling.BILINEAR))


def _findings(image: Image.Image) -> tuple[Finding, ...]:
    return measure_findings(np.asarray(image), _small(image)).findings


def _strength(image: Image.Image, kind: FindingKind) -> float:
    models = load_models()
    measures = measure_photo(np.asarray(image), _small(image), models.skin_colour)
    return models.by_kind[kind].strength(measures.photo)


def _kinds(findings: Sequence[Finding]) -> set[FindingKind]:
    return {finding.kind for finding in findings}


def _find(image: Image.Image, kind: FindingKind) -> Finding | None:
    return next((finding for finding in _findings(image) if finding.kind is kind), None)


@pytest.fixture(scope="module")
def drawn() -> dict[SkinTone, list[Image.Image]]:
    """One photo of each size, by skin tone."""
    return {tone: [draw_skin_photo(10 + tone, tone=tone, size=size) for size in SIZES] for tone in SkinTone}


@pytest.mark.parametrize("tone", SkinTone)
def test_no_finding_when_a_drawing_is_sharp(drawn: dict[SkinTone, list[Image.Image]], tone: SkinTone) -> None:
    assert [_findings(photo) for photo in drawn[tone]] == [(), ()]


@pytest.mark.parametrize("tone", [SkinTone.I, SkinTone.III, SkinTone.V, SkinTone.VI])
@pytest.mark.parametrize(
    ("kind", "strength"), [(FindingKind.DEFOCUS, 0.4), (FindingKind.DEFOCUS, 1.0), (FindingKind.MOTION, 0.8)]
)
def test_defocus_is_found_when_a_photo_is_blurred(
    drawn: dict[SkinTone, list[Image.Image]], tone: SkinTone, kind: FindingKind, strength: float
) -> None:
    for photo in drawn[tone]:
        spoiled = degrade(photo, Degradation(kind.value), strength)

        assert _findings(spoiled)[0].kind is kind


@pytest.mark.parametrize("angle", [0.0, 0.6, 1.2, 1.8, 2.5])
def test_motion_is_found_when_the_camera_moved_in_any_direction(
    drawn: dict[SkinTone, list[Image.Image]], angle: float
) -> None:
    for tone in (SkinTone.II, SkinTone.V):
        assert _findings(shake(drawn[tone][0], 0.8, angle))[0].kind is FindingKind.MOTION


@pytest.mark.parametrize("tone", SkinTone)
def test_too_dark_is_found_when_there_is_little_light(drawn: dict[SkinTone, list[Image.Image]], tone: SkinTone) -> None:
    for photo in drawn[tone]:
        found = _find(degrade(photo, Degradation.DARK, 0.93), FindingKind.TOO_DARK)

        assert found is not None
        assert found.level is FindingLevel.SEVERE
        assert found.patches == (0, 1, 2, 3, 4)


@pytest.mark.parametrize("tone", [SkinTone.I, SkinTone.II, SkinTone.III])
def test_too_bright_is_found_when_a_photo_is_overexposed(
    drawn: dict[SkinTone, list[Image.Image]], tone: SkinTone
) -> None:
    for photo in drawn[tone]:
        assert FindingKind.TOO_BRIGHT in _kinds(_findings(degrade(photo, Degradation.OVEREXPOSED, 0.9)))


@pytest.mark.parametrize(("patch", "centre"), [(0, (0.2, 0.2)), (1, (0.2, 0.8)), (2, (0.8, 0.2)), (3, (0.8, 0.8))])
def test_glare_is_located_in_its_corner(
    drawn: dict[SkinTone, list[Image.Image]], patch: int, centre: tuple[float, float]
) -> None:
    for tone in (SkinTone.II, SkinTone.VI):
        found = _find(add_glare(drawn[tone][0], 0.9, centre), FindingKind.TOO_BRIGHT)

        assert found is not None
        assert patch in found.patches
        assert 3 - patch not in found.patches


@pytest.mark.parametrize("tone", [SkinTone.I, SkinTone.III, SkinTone.VI])
def test_low_resolution_is_found_when_a_photo_has_few_pixels(
    drawn: dict[SkinTone, list[Image.Image]], tone: SkinTone
) -> None:
    tiny = drawn[tone][0].resize((100, 75), Image.Resampling.LANCZOS)

    found = _find(tiny, FindingKind.LOW_RESOLUTION)

    assert found is not None
    assert found.patches == ()


@pytest.mark.parametrize("light", [COLD, GREEN])
def test_colour_cast_is_found_when_the_light_is_coloured(
    drawn: dict[SkinTone, list[Image.Image]], light: tuple[float, float, float]
) -> None:
    for tone in (SkinTone.II, SkinTone.IV, SkinTone.VI):
        found = _find(tint(drawn[tone][1], 1.0, light), FindingKind.COLOUR_CAST)

        assert found is not None
        assert found.patches == ()


def _scene(seed: int, size: int = 480) -> Image.Image:
    """A photo without skin: sharp blocks of green, sky blue and grey."""
    random = np.random.default_rng(seed)
    colours = np.array([(90, 140, 60), (110, 150, 210), (140, 140, 145), (60, 90, 50), (225, 228, 235)])
    blocks = colours[random.integers(len(colours), size=(12, 12))].astype(np.float32)
    pixels = np.kron(blocks, np.ones((size // 12, size // 12, 1))) + random.normal(0, 6, (size, size, 1))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def test_no_skin_is_found_when_a_photo_shows_none() -> None:
    assert all(FindingKind.NO_SKIN in _kinds(_findings(_scene(seed))) for seed in range(4))


def test_skin_of_every_tone_is_detected_in_good_warm_cold_and_dim_light(
    drawn: dict[SkinTone, list[Image.Image]],
) -> None:
    for photos in drawn.values():
        for photo in photos:
            lit = (photo, tint(photo, 0.4, WARM), tint(photo, 0.4, COLD), degrade(photo, Degradation.DARK, 0.45))

            assert all(FindingKind.NO_SKIN not in _kinds(_findings(each)) for each in lit)


@pytest.mark.parametrize("tone", SkinTone)
def test_bad_framing_is_found_when_skin_is_small_and_off_centre(
    drawn: dict[SkinTone, list[Image.Image]], tone: SkinTone
) -> None:
    scene = _scene(1)
    scene.paste(drawn[tone][0].resize((110, 110)), (20, 300))

    assert FindingKind.BADLY_FRAMED in _kinds(_findings(scene))
    assert FindingKind.BADLY_FRAMED not in _kinds(_findings(drawn[tone][0]))


def test_blur_is_not_reported_when_the_centre_is_sharp(drawn: dict[SkinTone, list[Image.Image]]) -> None:
    for tone, photos in drawn.items():
        sharp = photos[1]
        width, height = sharp.size
        soft = degrade(sharp, Degradation.DEFOCUS, 0.9)
        window = (width // 4, height // 4, 3 * width // 4, 3 * height // 4)
        soft.paste(sharp.crop(window), window[:2])

        assert FindingKind.DEFOCUS not in _kinds(_findings(soft)), tone
        assert FindingKind.DEFOCUS in _kinds(_findings(degrade(sharp, Degradation.DEFOCUS, 0.9))), tone


def test_noise_does_not_hide_blur_when_a_photo_is_dark(drawn: dict[SkinTone, list[Image.Image]]) -> None:
    for tone in (SkinTone.II, SkinTone.V):
        dim = degrade(degrade(drawn[tone][0], Degradation.DEFOCUS, 0.8), Degradation.DARK, 0.5)

        assert FindingKind.DEFOCUS in _kinds(_findings(degrade(dim, Degradation.NOISE, 0.06)))


@pytest.mark.parametrize(
    ("kind", "degradation", "strengths"),
    [
        (FindingKind.DEFOCUS, Degradation.DEFOCUS, (0.05, 0.12, 0.2, 0.35)),
        (FindingKind.TOO_DARK, Degradation.DARK, (0.3, 0.6, 0.8, 0.93)),
        (FindingKind.TOO_BRIGHT, Degradation.OVEREXPOSED, (0.1, 0.3, 0.6, 0.9)),
    ],
)
def test_strength_grows_with_the_degradation(
    drawn: dict[SkinTone, list[Image.Image]],
    kind: FindingKind,
    degradation: Degradation,
    strengths: tuple[float, ...],
) -> None:
    for tone in (SkinTone.II, SkinTone.IV):
        photo = drawn[tone][1]

        grown = [
            _strength(photo, kind),
            *(_strength(degrade(photo, degradation, strength), kind) for strength in strengths),
        ]

        assert grown == sorted(grown)
        assert grown[-1] - grown[0] > 0.5


def test_finding_is_independent_of_photo_size_when_relative_blur_is_equal() -> None:
    for tone in (SkinTone.II, SkinTone.VI):
        large = draw_skin_photo(5, tone=tone, size=(2000, 2000))
        for strength in (0.4, 0.8):
            blurred = degrade(large, Degradation.DEFOCUS, strength)
            reduced = blurred.resize((500, 500), Image.Resampling.BOX)

            assert _kinds(_findings(blurred)) & BLUR == _kinds(_findings(reduced)) & BLUR == {FindingKind.DEFOCUS}
        assert not _kinds(_findings(large)) & BLUR
        assert not _kinds(_findings(large.resize((500, 500), Image.Resampling.BOX))) & BLUR


def test_strongest_finding_comes_first_when_there_are_several(drawn: dict[SkinTone, list[Image.Image]]) -> None:
    photo = degrade(tint(drawn[SkinTone.II][0], 1.0, COLD), Degradation.DEFOCUS, 0.9)

    found = _findings(photo)

    assert len(found) >= 2
    assert [finding.strength for finding in found] == sorted((f.strength for f in found), reverse=True)


def test_findings_are_equal_when_pixels_are_a_view_of_planes(drawn: dict[SkinTone, list[Image.Image]]) -> None:
    pixels = np.asarray(degrade(drawn[SkinTone.III][0], Degradation.DEFOCUS, 0.5))
    small = _small(Image.fromarray(pixels))
    expected = measure_findings(pixels, small)
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    turned = np.ascontiguousarray(pixels[::-1, ::-1].transpose(2, 1, 0))  # upside down, columns first

    assert expected.findings
    assert measure_findings(planes.transpose(1, 2, 0), small) == expected
    assert measure_findings(turned.transpose(2, 1, 0)[::-1, ::-1], small) == expected


@pytest.mark.parametrize("shape", [(700, 500), (1, 1), (1, 5000), (60, 60)])
@pytest.mark.parametrize(
    ("value", "expected"), [(0, FindingKind.TOO_DARK), (255, FindingKind.TOO_BRIGHT)], ids=["black", "white"]
)
def test_light_is_reported_when_a_photo_is_uniform(value: int, expected: FindingKind, shape: tuple[int, int]) -> None:
    found = measure_findings(np.full((*shape, 3), value, np.uint8), np.full((448, 448, 3), value, np.uint8)).findings

    light = next(finding for finding in found if finding.kind is expected)
    assert light.level is FindingLevel.SEVERE
    assert light.patches == (0, 1, 2, 3, 4)
    assert _kinds(found) <= {expected, FindingKind.LOW_RESOLUTION}


@settings(max_examples=60)
@given(
    height=st.integers(64, 400),
    width=st.integers(64, 400),
    low=st.integers(0, 255),
    high=st.integers(0, 255),
    seed=st.integers(0, 2**31),
    grain=st.sampled_from([1, 7, 64]),
)
def test_findings_are_well_formed_for_arbitrary_pixels(
    height: int, width: int, low: int, high: int, seed: int, grain: int
) -> None:
    random = np.random.default_rng(seed)
    coarse = random.integers(min(low, high), max(low, high) + 1, (height // grain + 1, width // grain + 1, 3))
    pixels = coarse.astype(np.uint8).repeat(grain, axis=0).repeat(grain, axis=1)[:height, :width]

    found = measure_findings(pixels, _small(Image.fromarray(pixels))).findings

    assert all(0 <= finding.strength <= 1 for finding in found)
    assert len(_kinds(found)) == len(found)
    for finding in found:
        assert list(finding.patches) == sorted(set(finding.patches))
        assert set(finding.patches) <= set(range(5))


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (60, 60), (64, 30000), (10000, 10000), (65, 700)])
def test_no_error_when_the_shape_is_extreme(shape: tuple[int, int]) -> None:
    row = np.random.default_rng(0).integers(0, 256, (1, shape[1], 3), np.uint8)
    pixels = np.broadcast_to(row, (*shape, 3))
    small = np.random.default_rng(1).integers(0, 256, (448, 448, 3), np.uint8)

    assert measure_findings(pixels, small) == measure_findings(pixels, small)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_findings_are_equal_when_the_photo_is_stored_rotated(
    drawn: dict[SkinTone, list[Image.Image]], orientation: int
) -> None:
    pixels = np.asarray(degrade(drawn[SkinTone.IV][0], Degradation.MOTION, 0.8))
    small = _small(Image.fromarray(pixels))
    stored = turn_upright(pixels, {6: 8, 8: 6}.get(orientation, orientation)).copy()

    upright = DecodedPhoto(stored, MediaType.JPEG, orientation).upright

    assert np.array_equal(upright, pixels)
    assert measure_findings(upright, small) == measure_findings(pixels, small)
    assert measure_findings(upright, small).findings
