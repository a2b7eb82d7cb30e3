"""Models: stages, scores, shadows against the live model, and a confirmation before another model decides."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from starlette.responses import HTMLResponse, Response

from triage.domain.card import RegisteredModel, UnreadableModel, card_json
from triage.domain.promotion import FEWEST_OF_A_CLASS, is_evaluated
from triage.domain.reporting import Period, period_of_report
from triage.domain.staff import Right
from triage.domain.states import Stage
from triage.errors import ModelError, UsageError
from triage.reports import models as registered
from triage.reports.summary import compare_models
from triage.retakes.scenario import Scenario
from triage.retakes.simulate import simulate
from worker.console.page import Pages, Visit, template

MODEL_PAGES: Final = Pages()

_MODELS: Final = template("models.html")
_MODEL: Final = template("model.html")
_CONFIRM_MODEL: Final = template("confirm_model.html")

_COMPARED: Final = timedelta(days=7)
"""Verdicts of this time are compared: more would take long at each look."""

_CARD_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
"""A page that stands alone has its styles inside. It has no form, no script and no image."""


@MODEL_PAGES.page("GET", "/models", right=Right.MANAGE, is_heavy=True)
def show_models(visit: Visit) -> Response:
    """All models, what they score, and where shadow models disagree."""
    sessions = visit.services.long_reads
    compared = compare_models(sessions, Period(datetime.now(UTC) - _COMPARED))
    models = registered.list_models(sessions)
    return visit.render(
        _MODELS,
        models=[model for model in models if isinstance(model, RegisteredModel)],
        unreadable=[model for model in models if isinstance(model, UnreadableModel)],
        previous=_previous(visit),
        days=_COMPARED.days,
        made_live=visit.request.query_params.get("live"),
        **compared,
    )


@MODEL_PAGES.page("GET", "/models/{model}", right=Right.MANAGE)
def show_model(visit: Visit) -> Response:
    """The card of a model."""
    model = _found(visit)
    aucs = {name: auc for name, values in model.card.metrics.items() if (auc := _auc(values)) is not None}
    card = card_json(model.card)
    lines = json.dumps(card, indent=2, ensure_ascii=False).splitlines()
    return visit.render(_MODEL, model=model, card=card, lines=lines, aucs=aucs, Stage=Stage)


@MODEL_PAGES.page("GET", "/models/{model}/card.html", right=Right.MANAGE)
def show_card(visit: Visit) -> Response:
    """The card as the page that `triage models card --html` writes."""
    from triage.evaluation.card_page import render_card  # deferred: imports matplotlib

    return HTMLResponse(render_card(_found(visit).card), headers={"Content-Security-Policy": _CARD_POLICY})


@MODEL_PAGES.page("GET", "/models/{model}/promote", right=Right.MANAGE, is_heavy=True)
def confirm_promotion(visit: Visit) -> Response:
    """What a promotion would have changed in the last 30 days."""
    return _confirm(visit, _found(visit), "promote")


@MODEL_PAGES.page("POST", "/models/{model}/promote", right=Right.MANAGE)
def promote_model(visit: Visit) -> Response:
    """Makes a model live, if the model that it replaces is the one that the person has seen."""
    model = visit.services.registry.promote(
        visit.part("model"),
        actor=visit.staff.actor,
        force_reason=visit.form.get("reason"),
        instead_of=visit.field("live"),
    )
    return _made_live(visit, model)


@MODEL_PAGES.page("GET", "/rollback", right=Right.MANAGE, is_heavy=True)
def confirm_rollback(visit: Visit) -> Response:
    """What a rollback would have changed in the last 30 days."""
    previous = registered.find_previous(visit.services.sessions)
    if previous is None:
        raise UsageError("no model was live before: promote one")
    return _confirm(visit, previous, "rollback")


@MODEL_PAGES.page("POST", "/rollback", right=Right.MANAGE)
def roll_back(visit: Visit) -> Response:
    """Makes the model live that was live before, if it is the one that the person has seen."""
    return _made_live(visit, visit.services.registry.rollback(actor=visit.staff.actor, to=visit.field("to")))


def _made_live(visit: Visit, model: RegisteredModel) -> Response:
    return visit.redirect(f"/models?live={model.id}")


def _auc(evaluation: Any) -> float | None:
    """The AUC of an evaluation, which cards store with its interval, as a number, or not at all."""
    auc = evaluation.get("auc") if isinstance(evaluation, dict) else None
    value = auc.get("value") if isinstance(auc, dict) else auc
    return float(value) if isinstance(value, int | float) else None


def _found(visit: Visit) -> RegisteredModel:
    return registered.find_model(visit.services.sessions, visit.part("model"))


def _previous(visit: Visit) -> RegisteredModel | None:
    """The model to which a rollback would return; None without one, or if its card is malformed."""
    try:
        return registered.find_previous(visit.services.sessions)
    except ModelError:
        return None


def _confirm(visit: Visit, model: RegisteredModel, action: str) -> Response:
    sha256 = model.card.weights_sha256
    expected: dict[str, Any] | None = None
    problem = ""
    try:
        expected = simulate(
            visit.services.long_reads,
            period_of_report(None, None),
            Scenario(model=sha256),
            policy=visit.services.settings.retake_policy,
            at_once=1,
        )
    except UsageError:  # it has scored none of these photos
        problem = visit.texts("confirm.unknown")
    except ModelError:  # the card of the live model is malformed
        problem = visit.texts("confirm.unreadable")
    live = next((each for each in registered.list_models(visit.services.sessions) if each.stage is Stage.LIVE), None)
    return visit.render(
        _CONFIRM_MODEL,
        model=model,
        live=live,
        action=action,
        expected=expected,
        problem=problem,
        sha256=sha256,
        must_be_forced=action == "promote" and model.card.trained and not is_evaluated(model.card),
        fewest=FEWEST_OF_A_CLASS,
    )
