"""Degradations as phones, lenses, light and messengers cause them, each with the reason that it is an example of.

A strength of 1 is severe. Photos are PIL images of mode RGB, at most about 1,000 pixels wide.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy.signal import fftconvolve

from recipes.findings.photos import LIGHTS, blur_by_lens
from triage.domain.states import FindingKind
from triage.imaging.degradation import Degradation, add_glare, degrade, shake, tint

Random: TypeAlias = np.random.Generator
Array: TypeAlias = NDArray[np.float32]
Change: TypeAlias = Callable[[Image.Image, float, Random], Image.Image]


@dataclass(frozen=True, slots=True)
class Variant:
    """One way in which a photo fails.

    Attributes:
        kind: the reason that a person would give.
        is_plain: as `triage.imaging.degradation` degrades, for the test with a single cause.
    """

    name: str
    kind: FindingKind
    change: Change
    is_plain: bool = False


def blur_by_depth(photo: Image.Image, strength: float, random: Random) -> Image.Image:
    """Defocuses with a depth that changes across the photo: one side is sharper than the other."""
    width, height = photo.size
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    angle = random.uniform(0, 2 * np.pi)
    mask = (128 + 127 * np.clip(1.5 * (x * np.cos(angle) + y * np.sin(angle)), -1, 1)).astype(np.uint8)
    near, far = blur_by_lens(photo, strength), blur_by_lens(photo, max(0.03, 0.4 * strength))
    return Image.composite(near, far, Image.fromarray(mask))


def shake_along_path(photo: Image.Image, strength: float, random: Random) -> Image.Image:
    """Motion blur along a smooth curved path, as a hand moves."""
    length = max(2.0, strength * 0.05 * max(photo.size))
    steps = int(8 * length)
    angle = random.uniform(0, 2 * np.pi) + np.cumsum(np.full(steps, random.normal(0, 1.2) / steps))
    path = np.cumsum(np.stack([np.sin(angle), np.cos(angle)]), axis=1) * length / steps  # (2, steps)
    path -= path.mean(axis=1, keepdims=True)
    reach = int(np.ceil(np.abs(path).max())) + 1
    edges = np.arange(-reach - 0.5, reach + 1)
    kernel, _, _ = np.histogram2d(path[0], path[1], bins=[edges, edges])
    return _convolve(photo, (kernel / kernel.sum()).astype(np.float32))


def underexpose(photo: Image.Image, strength: float, random: Random) -> Image.Image:
    """Less light in the scene: fewer photons, so more noise of photons and of the sensor."""
    linear = _to_linear(photo) * 2 ** (-5.5 * strength)
    variance = linear * random.uniform(2e-5, 4e-4) + random.uniform(1e-7, 4e-6)
    return _to_image(linear + random.normal(0, 1, linear.shape).astype(np.float32) * np.sqrt(variance))


def overexpose(photo: Image.Image, strength: float, random: Random) -> Image.Image:  # noqa: ARG001
    """More light than the sensor can count."""
    return _to_image(_to_linear(photo) * 2 ** (3.5 * strength))


def flash(photo: Image.Image, strength: float, random: Random) -> Image.Image:
    """A flash that clips the middle and leaves the border dark."""
    width, height = photo.size
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    centre_y, centre_x = random.uniform(-0.4, 0.4, 2)
    spot = np.exp(-(((x - centre_x) ** 2 + (y - centre_y) ** 2) / random.uniform(0.2, 0.6)))
    return _to_image(_to_linear(photo) * (0.8 + (2 ** (5 * strength) - 1) * spot[..., None]).astype(np.float32))


def glare(photo: Image.Image, strength: float, random: Random) -> Image.Image:
    """Reflections of one to three lamps."""
    for _ in range(random.integers(1, 4)):
        photo = add_glare(photo, min(1.0, strength), (random.uniform(0.15, 0.85), random.uniform(0.15, 0.85)))
    return photo


def shrink(photo: Image.Image, strength: float, random: Random) -> Image.Image:  # noqa: ARG001
    """A photo of few pixels, as a thumbnail."""
    return _to_side(photo, max(40, 320 * 2 ** (-2.8 * strength)))


def send_by_messenger(photo: Image.Image, strength: float, random: Random) -> Image.Image:
    """Made smaller and compressed strongly, perhaps twice."""
    photo = _to_side(photo, max(64, 500 * 2 ** (-2.5 * strength)))
    for _ in range(random.integers(1, 3)):
        photo = compress(photo, max(4, round(50 - 42 * strength)))
    return photo


def tint_randomly(photo: Image.Image, strength: float, random: Random) -> Image.Image:
    """Light of any colour, or a wrong white balance."""
    lights = tuple(LIGHTS.values())
    light = lights[random.integers(len(lights))] if random.random() < 0.6 else tuple(np.exp(random.normal(0, 0.35, 3)))
    return tint(photo, min(1.0, strength), (float(light[0]), float(light[1]), float(light[2])))


def approach(photo: Image.Image, strength: float, random: Random) -> Image.Image:
    """Nearer than the lens can focus: a small part fills the photo, blurred, in the shade of the phone."""
    zoom = 1.4 + 2.2 * strength
    width, height = photo.size
    w, h = width / zoom, height / zoom
    left, top = (random.uniform(0.3, 0.7) * (side - part) for side, part in ((width, w), (height, h)))
    near = photo.resize(photo.size, Image.Resampling.BICUBIC, (left, top, left + w, top + h))
    near = blur_by_lens(near, min(1.0, 0.12 + 0.35 * strength))
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    angle = random.uniform(0, 2 * np.pi)
    shade = 1 - random.uniform(0.1, 0.5) * (0.5 + 0.5 * np.clip(x * np.cos(angle) + y * np.sin(angle), -1, 1))
    return _to_image(_to_linear(near) * shade[..., None].astype(np.float32))


def compress(photo: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return image.convert("RGB")


def move_away(skin: Image.Image, scene: Image.Image, random: Random) -> Image.Image:
    """Skin that takes little of the photo, near the middle."""
    width, height = scene.size
    share = random.uniform(0.1, 0.3)
    w, h = (max(8, round(share * side * random.uniform(0.8, 1.25))) for side in scene.size)
    x, y = (round(random.uniform(0.3, 0.7) * side - part / 2) for side, part in ((width, w), (height, h)))
    return _paste(skin.resize((w, h), Image.Resampling.LANCZOS), scene, (x, y), is_oval=random.random() < 0.7)


def cut_off(skin: Image.Image, scene: Image.Image, random: Random) -> Image.Image:
    """Skin that leaves the photo at a side or a corner, before a scene."""
    width, height = scene.size
    shift_x, shift_y = random.uniform(0.45, 0.8), random.uniform(0, 0.5)
    if random.random() < 0.5:
        shift_x, shift_y = shift_y, shift_x
    offset = (
        round(random.choice([-1, 1]) * shift_x * width),
        round(random.choice([-1, 1]) * shift_y * height),
    )
    return _paste(skin.resize((width, height)), scene, offset, is_oval=random.random() < 0.5)


def leave_skin_out(scene: Image.Image, random: Random) -> Image.Image:
    """A photo of something else: a part of a scene, a plain surface, or a page of text."""
    choice = random.random()
    width, height = scene.size
    if choice < 0.65:
        zoom = random.uniform(1.5, 5)
        w, h = width / zoom, height / zoom
        left, top = random.uniform(0, width - w), random.uniform(0, height - h)
        return scene.resize(scene.size, Image.Resampling.BICUBIC, (left, top, left + w, top + h))
    colour = random.integers(20, 245, 3) if random.random() < 0.4 else np.full(3, random.integers(20, 245))
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 1 + random.uniform(0, 0.25) * x + random.uniform(-0.2, 0.2) * y
    pixels = colour * light[..., None] + random.normal(0, random.uniform(1, 8), (height, width, 1))
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    if choice < 0.85:
        return image
    draw = ImageDraw.Draw(image)
    step = int(random.integers(12, 32))
    ink = tuple(int(value) for value in (255 - colour if random.random() < 0.3 else colour // 6))
    for top in range(step, height - step, step):
        left = step
        while left < width - step:
            length = int(random.integers(step // 3, 3 * step))
            draw.rectangle((left, top, min(left + length, width - step), top + step // 3), fill=ink)
            left += length + step // 3
    return image


VARIANTS: Final = (
    Variant("lens", FindingKind.DEFOCUS, lambda photo, s, _: blur_by_lens(photo, min(1.0, s))),
    Variant("depth", FindingKind.DEFOCUS, lambda photo, s, r: blur_by_depth(photo, min(1.0, s), r)),
    Variant("defocus", FindingKind.DEFOCUS, lambda photo, s, _: degrade(photo, Degradation.DEFOCUS, s), is_plain=True),
    Variant("path", FindingKind.MOTION, shake_along_path),
    Variant("shake", FindingKind.MOTION, lambda photo, s, r: shake(photo, s, r.uniform(0, np.pi)), is_plain=True),
    Variant("motion", FindingKind.MOTION, lambda photo, s, _: degrade(photo, Degradation.MOTION, s), is_plain=True),
    Variant("underexposed", FindingKind.TOO_DARK, underexpose),
    Variant("dark", FindingKind.TOO_DARK, lambda photo, s, _: degrade(photo, Degradation.DARK, s), is_plain=True),
    Variant("exposure", FindingKind.TOO_BRIGHT, overexpose),
    Variant("flash", FindingKind.TOO_BRIGHT, flash),
    Variant("glare", FindingKind.TOO_BRIGHT, glare),
    Variant(
        "overexposed",
        FindingKind.TOO_BRIGHT,
        lambda photo, s, _: degrade(photo, Degradation.OVEREXPOSED, s),
        is_plain=True,
    ),
    Variant("tiny", FindingKind.LOW_RESOLUTION, shrink),
    Variant("messenger", FindingKind.LOW_RESOLUTION, send_by_messenger),
    Variant(
        "low_resolution",
        FindingKind.LOW_RESOLUTION,
        lambda photo, s, _: degrade(photo, Degradation.LOW_RESOLUTION, s),
        is_plain=True,
    ),
    Variant("jpeg", FindingKind.LOW_RESOLUTION, lambda photo, s, _: degrade(photo, Degradation.JPEG, s), is_plain=True),
    Variant("cast", FindingKind.COLOUR_CAST, tint_randomly),
    Variant("tint", FindingKind.COLOUR_CAST, tint_randomly, is_plain=True),
    Variant("close", FindingKind.TOO_CLOSE, approach),
    Variant("near", FindingKind.TOO_CLOSE, approach, is_plain=True),
)
"""Degradations of a strength. Distance, framing and missing skin need a second photo: see `move_away` and others."""


def _paste(skin: Image.Image, scene: Image.Image, offset: tuple[int, int], *, is_oval: bool) -> Image.Image:
    mask = Image.new("L", skin.size)
    draw = ImageDraw.Draw(mask)
    (draw.ellipse if is_oval else draw.rectangle)((2, 2, skin.width - 3, skin.height - 3), fill=255)
    framed = scene.copy()
    framed.paste(skin, offset, mask.filter(ImageFilter.GaussianBlur(1.5)))
    return framed


def _to_side(photo: Image.Image, side: float) -> Image.Image:
    factor = side / max(photo.size)
    if factor >= 1:
        return photo
    width, height = (max(16, round(length * factor)) for length in photo.size)
    return photo.resize((width, height), Image.Resampling.LANCZOS)


def _convolve(photo: Image.Image, kernel: Array) -> Image.Image:
    reach = len(kernel) // 2
    padded = np.pad(np.asarray(photo, np.float32), [(reach, reach), (reach, reach), (0, 0)], mode="symmetric")
    blurred = fftconvolve(padded, kernel[..., None], mode="valid", axes=(0, 1))
    return Image.fromarray(blurred.clip(0, 255).astype(np.uint8))


def _to_linear(photo: Image.Image) -> Array:
    shares = np.asarray(photo, np.float32) / 255
    return np.power(shares, 2.2, dtype=np.float32)  # near enough to sRGB for a degradation


def _to_image(linear: Array) -> Image.Image:
    return Image.fromarray((255 * linear.clip(0, 1) ** (1 / 2.2)).round().astype(np.uint8))
