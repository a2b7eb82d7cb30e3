"""The tables of `docs/findings.md` and the figures of the card about `no_skin`, on test photos."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipes.findings.report import ITA_BINS, typology_angle
from recipes.reasons.collecting import CLOSE_UPS, Original, Part
from recipes.reasons.fitting import Collected, predict
from recipes.reasons.no_skin import NO_SKIN, NoSkin, Shown, shown_in
from recipes.reasons.report import percent_of, table_of
from triage.domain.reasons import ReasonHead
from triage.model.network import ReasonLayer
from triage.samples.drawing import SkinTone
from triage.statistics.proportions import wilson_interval

Named = NDArray[np.bool_]


class NoSkinReport:
    """Which test photos the finished head names `no_skin` for."""

    def __init__(
        self, head: ReasonHead, layer: ReasonLayer, collected: Collected, originals: Sequence[Original], found: NoSkin
    ) -> None:
        test = collected.of(Part.TEST)
        limit = head.reasons[NO_SKIN].named_from
        self._named = predict(head, layer, test)[:, list(head.reasons).index(NO_SKIN)] >= limit
        self._passes = ~test.photos.fails
        self._samples = test.samples
        self._shown = shown_in(test.samples, originals)
        self._tone = np.array([sample.tone for sample in test.samples])
        self._source = np.array([sample.source for sample in test.samples])
        self._is_flawed = np.array([bool(sample.causes) for sample in test.samples])
        self._others = [
            (sample.number, bool(is_named))
            for sample, shown, is_named in zip(
                found.choosing.samples, found.shown, found.probabilities >= limit, strict=True
            )
            if sample.source in {"pad", CLOSE_UPS} and shown == Shown.CLOSE_UP and not (sample.causes or sample.tone)
        ]
        self._by_angle = sorted(
            (typology_angle(original.path), original.number) for original in originals if original.source == "pad"
        )

    def tables(self) -> dict[str, str]:
        shares = self._shares()
        return {
            "no-skin-learned": table_of(
                ("test photos", "n", "`no_skin`"),
                ((name, len(named), percent_of(named)) for name, named in shares.items()),
            ),
            "no-skin-tones": table_of(
                ("sharp close-ups", "n", "`no_skin`", "passes"),
                ((name, len(named), percent_of(named), percent_of(passes)) for name, named, passes in self._by_tone()),
            ),
        }

    def figures(self) -> dict[str, Any]:
        """For the card: the shares that are named, and of sharp skin those that pass, with Wilson's intervals."""
        named = {name: {"named": _share(values)} for name, values in self._shares().items()}
        return named | {
            name: {"named": _share(values)} | ({"passes": _share(passes)} if len(passes) else {})
            for name, values, passes in self._by_tone()
        }

    def _shares(self) -> Mapping[str, Named]:
        whole, part = self._source == "clive", self._source == "pad"
        nothing, close_up = self._shown == Shown.NOTHING, (self._shown == Shown.CLOSE_UP) & (self._source != CLOSE_UPS)
        made = np.array([NO_SKIN in sample.causes for sample in self._samples])
        return {
            "scenes without people, as they are": self._named[nothing & whole & ~self._is_flawed],
            "scenes without people, degraded": self._named[nothing & whole & self._is_flawed & ~made],
            "parts of scenes, surfaces, pages of text": self._named[nothing & made],
            "scenes with people, as they are": self._named[(self._shown == Shown.PEOPLE) & ~self._is_flawed],
            "skin that is small or cut off": self._named[self._shown == Shown.SMALL],
            "close-ups as they are": self._named[close_up & part & ~self._is_flawed],
            "close-ups, degraded": self._named[close_up & part & self._is_flawed],
            "drawn skin, degraded": self._named[close_up & (self._source == "drawn") & self._is_flawed],
        }

    def _by_tone(self) -> Iterator[tuple[str, Named, Named]]:
        """Of sharp skin, which photos are named, and which test photos pass."""
        for source, how in (("drawn", "drawn"), (CLOSE_UPS, "recoloured")):
            for tone in SkinTone:
                chosen = (self._source == source) & (self._tone == tone.name) & ~self._is_flawed
                yield f"{how}, tone {tone.name}", self._named[chosen], self._passes[chosen]
        natural = (self._source == "pad") & ~self._is_flawed & (self._tone == "")
        tested = [(self._samples[row].number, bool(self._named[row])) for row in np.flatnonzero(natural).tolist()]
        known = dict([*self._others, *tested])
        for name, lower, upper in ITA_BINS:
            rows = [known[number] for angle, number in self._by_angle if lower < angle <= upper and number in known]
            yield f"as they are, ITA {name}", np.array(rows, np.bool_), np.array([], np.bool_)


def _share(found: Named) -> dict[str, Any]:
    return {"n": len(found), "share": float(found.mean()), "interval": wilson_interval(int(found.sum()), len(found))}
