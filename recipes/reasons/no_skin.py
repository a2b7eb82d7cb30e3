"""The reason `no_skin`: close-ups of skin against everything else, from the network's last two blocks and colours.

The first three blocks are left out, and so are measures of size, detail and compression: the close-ups at hand are
smaller than the scenes, and a head that reads resolution would take large photos for scenes.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recipes.reasons.collecting import CLOSE_UPS, Original, Part, Sample
from recipes.reasons.fitting import N_FOLDS, Collected, predict
from triage.domain.architecture import Layers
from triage.domain.reasons import ReasonHead
from triage.domain.states import FindingKind
from triage.model.network import ReasonLayer
from triage.training.reasons import ReasonPhotos, fit_reasons

NO_SKIN: Final = FindingKind.NO_SKIN

# numbers in the order of labels.csv of the scenes with fewer than three votes in which people are more than small, by
# one look at thumbnails
POOR_SCENES_WITH_PEOPLE: Final = frozenset(
    {
        *(48, 52, 61, 77, 93, 113, 114, 125, 145, 166, 174, 231, 243, 247, 255, 263, 271, 282, 288, 297, 312, 316, 327),
        *(331, 332, 340, 342, 353, 356, 367, 375, 384, 386, 415, 424, 433, 438, 451, 453, 461, 498, 508, 536, 555, 568),
        *(569, 573, 575, 577, 580, 671, 717, 729, 733, 734, 768, 779, 811),
    }
)

_N_BLOCKS: Final = 2
_COLOURS: Final = (
    *("skin", "skin_centre", "skin_fullest", "skin_emptiest", "skin_edge", "skin_off_centre", "skin_contrast"),
    *("skin_isolated", "diversity", "block_diversity", "red", "blue", "light_red", "light_blue", "neutral", "warmth"),
    *("median", "contrast"),
)
_RIDGE: Final = 5e-4
_SOME_SKIN: Final = 0.3
_SOME_SKIN_DENIED: Final = 0.10


class Shown(StrEnum):
    """What a photo shows."""

    CLOSE_UP = "close-up"
    SMALL = "small"
    """Skin that is far away, or cut off."""
    PEOPLE = "people"
    """A scene in which people are more than small."""
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class NoSkin:
    """The reason's row of a reason head.

    Attributes:
        head: the reason alone.
        layer: for the last blocks.
        choosing: the photos that its limit was chosen on, and what they show.
        probabilities: (N,), of heads fitted to other patients and scenes.
    """

    head: ReasonHead
    layer: ReasonLayer
    choosing: Collected
    shown: NDArray[np.str_]
    probabilities: NDArray[np.float64]


def shown_in(samples: Sequence[Sample], originals: Sequence[Original]) -> NDArray[np.str_]:
    """What each photo shows, as `Shown`; empty for enlarged parts of scenes with people, which may show skin or not."""
    scenes = {original.number: original for original in originals if original.source == "clive"}
    return np.array([_shown(sample, scenes) for sample in samples])


def fit_no_skin(collected: Collected, originals: Sequence[Original], layers: Layers, head: ReasonHead) -> NoSkin:
    """Fits the reason, and chooses the limit from which it is named, whether a photo passes or fails.

    Args:
        layers: of the network.
        head: whose limits of the measures hold for this reason too.

    Returns:
        The limit is above each sharp close-up, in any tone, and above nine of ten photos of people and of skin that is
        small or cut off: of the photos to fit to, by heads fitted to others, and of those to calibrate on.
    """
    shown = shown_in(collected.samples, originals)
    usable = _usable(collected, layers, head).where(shown != "")
    shown = shown[shown != ""]
    part = np.array([sample.part for sample in usable.samples])
    groups = {original.number: original.group for original in originals}
    is_drawn = [sample.source == "drawn" for sample in usable.samples]
    names = ["" if drawn else groups[s.number] for s, drawn in zip(usable.samples, is_drawn, strict=True)]
    folds = np.where(part == Part.FIT, [zlib.crc32(name.encode()) % N_FOLDS for name in names], -1)

    def fit_to(chosen: NDArray[np.bool_]) -> tuple[ReasonHead, ReasonLayer]:
        photos = _described(usable.where(chosen), shown[chosen])
        held_out = _described(usable.where(part == Part.CALIBRATE), shown[part == Part.CALIBRATE])
        return fit_reasons([NO_SKIN], layers[-_N_BLOCKS:], photos, held_out, ridge=_RIDGE)

    fitted = fit_to(part == Part.FIT)
    probabilities = predict(*fitted, usable)[:, 0]
    for fold in range(N_FOLDS):
        unseen = folds == fold
        probabilities[unseen] = predict(*fit_to((part == Part.FIT) & ~unseen), usable.where(unseen))[:, 0]
    choosing = part != Part.TEST
    limit = _limit(usable.where(choosing).samples, shown[choosing], probabilities[choosing])
    reason = fitted[0].reasons[NO_SKIN].model_copy(update={"named_from": limit, "advised_from": limit})
    alone = ReasonHead(reasons={NO_SKIN: reason}, limits=fitted[0].limits)
    return NoSkin(alone, fitted[1], usable.where(choosing), shown[choosing], probabilities[choosing])


def with_no_skin(head: ReasonHead, layer: ReasonLayer, found: NoSkin, layers: Layers) -> tuple[ReasonHead, ReasonLayer]:
    """A head with this reason as its last one."""
    joined = ReasonLayer(layers, len(head.reasons) + 1)
    joined.weight.data.zero_()
    joined.bias.data.zero_()
    joined.weight.data[:-1] = layer.weight
    joined.weight.data[-1, -found.layer.weight.shape[1] :] = found.layer.weight[0]
    return ReasonHead(reasons={**head.reasons, **found.head.reasons}, limits=head.limits), joined


def _shown(sample: Sample, scenes: Mapping[int, Original]) -> str:
    if sample.source in {"drawn", CLOSE_UPS}:
        return Shown.CLOSE_UP
    if sample.source == "pad":
        if NO_SKIN in sample.causes:
            return Shown.NOTHING
        is_small = {FindingKind.TOO_FAR, FindingKind.BADLY_FRAMED}.intersection(sample.causes)
        return Shown.SMALL if is_small else Shown.CLOSE_UP
    scene = scenes[sample.number]
    if not (scene.number in POOR_SCENES_WITH_PEOPLE if scene.votes < 3 else scene.shows_skin):
        return Shown.NOTHING
    return "" if NO_SKIN in sample.causes else Shown.PEOPLE


def _usable(collected: Collected, layers: Layers, head: ReasonHead) -> Collected:
    """The photos with the statistics of the last blocks and the measures of colour, within the limits of a head."""
    photos = collected.photos
    columns = [photos.names.index(name) for name in _COLOURS]
    low, high = np.array([head.limits[name] for name in _COLOURS]).T
    n_statistics = 2 * sum(block[-1] for block in layers[-_N_BLOCKS:])
    read = ReasonPhotos(
        photos.statistics[:, -n_statistics:],
        photos.measures[:, columns].clip(low, high),
        _COLOURS,
        photos.given,
        photos.fails,
    )
    return Collected(collected.samples, read)


def _described(collected: Collected, shown: NDArray[np.str_]) -> ReasonPhotos:
    """With the answer, and weights: close-ups, and photos of nothing, weigh as much; others less."""
    photos = collected.photos
    shares = {Shown.CLOSE_UP: 1.0, Shown.NOTHING: 1.0, Shown.SMALL: _SOME_SKIN, Shown.PEOPLE: _SOME_SKIN}
    weights = np.zeros(len(shown))
    for kind, share in shares.items():
        weights[shown == kind] = share / max(1, (shown == kind).sum())
    answers = (shown == Shown.NOTHING).astype(np.float64)[:, None]
    everything = np.ones(len(shown), np.bool_)
    return ReasonPhotos(photos.statistics, photos.measures, photos.names, answers, everything, weights)


def _limit(samples: Sequence[Sample], shown: NDArray[np.str_], probabilities: NDArray[np.float64]) -> float:
    is_sharp = np.array([not sample.causes for sample in samples])
    limits = [probabilities[(shown == Shown.CLOSE_UP) & is_sharp].max()]
    limits += [np.quantile(probabilities[shown == kind], 1 - _SOME_SKIN_DENIED) for kind in (Shown.SMALL, Shown.PEOPLE)]
    return float(np.nextafter(max(limits), 1))
