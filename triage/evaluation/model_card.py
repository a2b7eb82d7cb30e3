"""A model's card for people: as the README of an exported model, in the layout of Hugging Face's model cards.

Mitchell et al. 2019, Model Cards for Model Reporting, doi:10.1145/3287560.3287596.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, TemplateError

from triage.domain.card import Card, card_json
from triage.domain.text import printable_value
from triage.errors import ModelError
from triage.evaluation.operating_point import RATES

LIMITS: Final = (
    "For asking patients to take a photo again, and for nothing else: it says nothing about a disease.",
    "Its numbers apply only to photos like those it was evaluated on: evaluate it on your own before it decides.",
    "Check it by source and by skin type: a group with few photos has wide intervals.",
    "A score near the threshold is close to a coin toss: people must be able to overrule it.",
)

_TEXT: Final = Environment(
    loader=PackageLoader("triage.evaluation"),
    autoescape=False,  # noqa: S701  # Markdown: cells are escaped by the filter `cell`
    finalize=printable_value,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render_readme(card: Card, *, folder: str, licence: str = "other", has_onnx: bool = False) -> str:
    """Renders the README of an exported model, with YAML front matter.

    Args:
        card: of the model.
        folder: its name, for the commands.
        licence: an id of the hub's list, such as `apache-2.0`.
        has_onnx: the folder has `model.onnx`.

    Raises:
        ModelError: the card has an evaluation that is none.
    """
    with readable_evaluations(card):
        return _TEXT.get_template("model_card.md.j2").render(
            **facts_of(card), folder=folder, license=licence, has_onnx=has_onnx
        )


@contextmanager
def readable_evaluations(card: Card) -> Iterator[None]:
    """Evaluations on a card are free JSON: those from elsewhere may be anything.

    Raises:
        ModelError: they cannot be shown.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, TemplateError) as error:
        raise ModelError(
            f"the card of model {card.name!r} has an evaluation that cannot be read: evaluate it again and record that"
        ) from error


def facts_of(card: Card) -> dict[str, Any]:
    """What a card says, in the order of a model card's sections.

    Returns:
        `{card, limits, splits{}, data, settings, rates, evaluations{}, calibration}`. Cards of earlier releases, and of
        models from elsewhere, lack some of it.
    """
    document = card_json(card)
    evaluations = {name: e for name, e in document["metrics"].items() if isinstance(e, dict) and "intervals" in e}
    return {
        "card": document,
        "limits": LIMITS,
        "splits": _splits(document["data_summary"], evaluations),
        "data": list(_data(document["data_summary"])),
        "settings": [*_flat(document["training_settings"]), *document["made_with"].items()],
        "rates": RATES,
        "evaluations": evaluations,
        "calibration": list(_calibration(evaluations)),
    }


def _splits(summary: Mapping[str, Any], evaluations: Mapping[str, Any]) -> dict[str, Any]:
    """Table 1 of each split; of earlier cards only the counts."""
    if isinstance(found := summary.get("splits"), dict):
        return found
    photos = summary.get("photos")
    if not isinstance(photos, dict):
        return {}
    return {
        name: {
            "n": n,
            "n_good": evaluations.get(name, {}).get("n_good"),
            "patients": None,
            "sources": {},
            "fitzpatrick": {},
        }
        for name, n in photos.items()
    }


def _data(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Further facts about the data."""
    names = {"manifest_sha256": "SHA-256 of the manifest", "unreadable": "photos that could not be read"}
    for name, value in summary.items():
        if name not in {"photos", "votes", "splits"} and value not in (None, ""):
            yield names.get(name, name.replace("_", " ")), str(value)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _setting(value)


def _setting(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not set" if value is None else str(value)


def _calibration(evaluations: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each cut of each data set; one for the score where the cuts are not known."""
    for data, e in evaluations.items():
        before = e.get("calibration_before") or {}
        if cuts := e["calibration"].get("by_cut"):
            earlier = before.get("by_cut") or [None] * len(cuts)
            for cut, then in zip(cuts, earlier, strict=True):
                yield {**cut, "data": data, "votes": f"at least {cut['votes']}", "before": then}
        else:
            votes = f"at least {e.get('good_votes', 2)}"
            yield {"brier": None, **e["calibration"], "data": data, "n": e["n"], "votes": votes, "before": before}


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _span(interval: Sequence[float] | None) -> str:
    return f"{_percent(interval[0])} to {_percent(interval[1])}" if interval else ""


def auc_interval(e: Mapping[str, Any]) -> str:
    """DeLong's, or the exact one-sided one of an AUC of exactly 0 or 1."""
    if interval := (e.get("auc_ci") or {}).get("delong"):
        return f"{interval[0]:.3f} to {interval[1]:.3f} (DeLong)"
    if interval := e.get("auc_exact_ci"):
        return f"{interval[0]:.3f} to {interval[1]:.3f} (exact, one-sided)"
    return str(e.get("auc_ci_withheld") or "")


def _indexed(e: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The metrics for the front matter; their intervals are part of the name, as the layout has no field for them."""
    if e["auc"] is not None:
        interval = auc_interval(e)
        yield {"type": "roc_auc", "name": f"AUC, {interval}" if interval else "AUC", "value": round(e["auc"], 4)}
    for rate in RATES:
        if e[rate] is not None:
            name = f"{rate.replace('_', ' ')}, {_span(e['intervals'][rate])}"
            yield {"type": rate, "name": name, "value": round(e[rate], 4)}
    if (brier := e["calibration"].get("brier")) is not None:
        yield {"type": "brier_score", "name": "Brier score", "value": round(brier, 4)}


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items() if n)


def _cell(value: object) -> str:
    """Text for a cell of a table in Markdown: one line, without markup."""
    text = " ".join(str(value).split())
    for mark in ("\\", "|", "`", "*", "_", "[", "]", "<", ">", "#"):
        text = text.replace(mark, f"\\{mark}")
    return text


FORMATS: Final = {
    "number": _number,
    "percent": _percent,
    "span": _span,
    "auc_interval": auc_interval,
    "indexed": _indexed,
    "counted": _counted,
}
"""What templates of model cards use to write values."""

_TEXT.globals.update(FORMATS)
_TEXT.filters["cell"] = _cell
