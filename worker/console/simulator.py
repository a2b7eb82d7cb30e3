"""The simulator: what another threshold or limit would have meant, proposals, and their application."""

from typing import Any, Final

from starlette.responses import Response

from triage.domain.card import RegisteredModel
from triage.domain.staff import Right
from triage.domain.states import Stage
from triage.errors import UsageError
from triage.reports.models import list_models
from triage.retakes.proposals import find_proposal, list_proposals, propose
from triage.retakes.scenario import Scenario
from triage.retakes.simulate import simulate
from worker.console.page import Pages, Visit, template
from worker.console.reports import dates_of, period_of
from worker.hints import LIMIT_VARIABLES

SIMULATOR_PAGES: Final = Pages()

_SIMULATOR: Final = template("simulator.html")
_PROPOSAL: Final = template("proposal.html")

_FIELDS: Final = ("threshold", "unmoved", "exact", "margin", "requests", "cooldown")
_STEP: Final = 0.01
"""Of the slider. An exact threshold has a field beside it."""
_LISTED: Final = 50
"""Proposals on the page, the newest."""


@SIMULATOR_PAGES.page("GET", "/simulator", right=Right.MANAGE, is_heavy=True)
def show_simulator(visit: Visit) -> Response:
    """The form, and what its scenario would have meant once it is sent. Proposals below."""
    query = visit.request.query_params
    sessions, policy = visit.services.long_reads, visit.services.settings.retake_policy
    given = {name: query.get(name, "") for name in _FIELDS}
    period = period_of(visit)
    found = simulate(sessions, period, _scenario(given), policy=policy, at_once=1) if "threshold" in query else None
    models = (each for each in list_models(sessions) if isinstance(each, RegisteredModel))
    live = next((each for each in models if each.stage is Stage.LIVE), None)
    unmoved = f"{round(live.card.threshold / _STEP) * _STEP:.2f}" if live else "0.50"
    return visit.render(
        _SIMULATOR,
        live=live,
        policy=policy,
        given=given,
        unmoved=unmoved,
        step=_STEP,
        found=found,
        proposals=list_proposals(sessions, limit=_LISTED),
        listed=_LISTED,
        **dates_of(visit, period),
    )


@SIMULATOR_PAGES.page("POST", "/proposals", right=Right.MANAGE, is_heavy=True)
def save_proposal(visit: Visit) -> Response:
    """Saves the scenario of the form's address as a proposal."""
    name = visit.field("name").strip()
    propose(
        visit.services.long_reads,
        name,
        period_of(visit),
        _scenario({each: visit.request.query_params.get(each, "") for each in _FIELDS}),
        policy=visit.services.settings.retake_policy,
        by=visit.staff.actor,
        at_once=1,
    )
    return visit.redirect(f"/proposals/{name}")


@SIMULATOR_PAGES.page("GET", "/proposals/{name}", right=Right.MANAGE)
def show_proposal(visit: Visit) -> Response:
    """What a proposal would have meant, and the button that applies it."""
    proposal = find_proposal(visit.services.sessions, visit.part("name"))
    changes = proposal.simulation["changes"]
    return visit.render(
        _PROPOSAL,
        proposal=proposal,
        has_thresholds="threshold" in changes or "thresholds_by_photo_count" in changes,
        is_applied="applied" in visit.request.query_params and proposal.applied_at is not None,
        found=proposal.simulation,
        changes=[(name, _before(proposal.simulation, name), _text(value)) for name, value in changes.items()],
        variables=[f"{name}={changes[limit]}" for limit, name in LIMIT_VARIABLES.items() if limit in changes],
    )


@SIMULATOR_PAGES.page("POST", "/proposals/{name}/apply", right=Right.MANAGE)
def apply_proposal(visit: Visit) -> Response:
    """Gives the live model the thresholds of a proposal."""
    name = visit.part("name")
    visit.services.registry.apply(name, actor=visit.staff.actor)
    return visit.redirect(f"/proposals/{name}?applied=1")


def _scenario(given: dict[str, str]) -> Scenario:
    """The changes that a form names. A slider that was not moved changes nothing."""
    try:
        moved = given["threshold"] if given["threshold"] != given["unmoved"] else ""
        return Scenario(
            threshold=_number(given["exact"] or moved),
            uncertain_margin=_number(given["margin"]),
            max_requests_per_thread=int(given["requests"]) if given["requests"] else None,
            cooldown_hours=_number(given["cooldown"]),
        )
    except ValueError:
        raise UsageError("invalid number in the form: correct it") from None


def _number(text: str) -> float | None:
    return float(text) if text else None


def _before(simulation: dict[str, Any], name: str) -> str:
    return _text(simulation["model"] if name == "model" else simulation["settings"][name])


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{n}: {threshold:g}" for n, threshold in value.items()) or "-"
    return "-" if value is None else value if isinstance(value, str) else f"{value:g}"
