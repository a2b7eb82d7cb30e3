"""Proposals: a simulation that is saved under a name, for a manager to apply (`triage.registry.Registry.apply`)."""

import re
from collections.abc import Sequence
from typing import Any, Final

from pydantic import PositiveInt

from triage.domain.actors import check_actor
from triage.domain.proposals import Proposal
from triage.domain.reporting import Period
from triage.domain.text import check_no_step
from triage.errors import UsageError
from triage.retakes.policy import RetakePolicy
from triage.retakes.scenario import Scenario
from triage.retakes.simulate import simulate
from triage.storage import model_versions as models
from triage.storage import proposals
from triage.storage.at_once import CONNECTIONS
from triage.storage.database import Sessions
from triage.storage.use_case import use_case

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")


@use_case
def propose(
    sessions: Sessions,
    name: str,
    period: Period,
    scenario: Scenario,
    *,
    policy: RetakePolicy,
    by: str,
    at_once: PositiveInt = CONNECTIONS,
) -> dict[str, Any]:
    """Simulates a scenario, saves the result as a proposal, and returns it.

    Args:
        sessions: of the worker role.
        name: of the proposal: letters, digits, `.`, `_` and `-`.
        period, scenario, policy, at_once: as `simulate`.
        by: actor id of the person who proposes it.

    Raises:
        UsageError: as `simulate`; or `name` is malformed or taken, `by` is malformed, or the scenario changes nothing.
    """
    check_actor(by)
    if not _NAME.fullmatch(name):
        raise UsageError("invalid name of a proposal: use 1 to 100 letters, digits, `.`, `_` and `-`")
    check_no_step(name, "name of a proposal")
    if not scenario.changes():
        raise UsageError("the scenario changes nothing: change a threshold, a limit or the model")
    found = simulate(sessions, period, scenario, policy=policy, at_once=at_once)
    with sessions.begin() as session:
        models.lock_stages(session)  # two people may choose the same name at once
        proposals.save(session, name, found, actor=by)
    return found


@use_case
def list_proposals(sessions: Sessions, *, limit: int | None = None) -> Sequence[Proposal]:
    """All proposals or at most `limit`, the newest first.

    Raises:
        UsageError: the limit is not positive.
    """
    if limit is not None and limit < 1:
        raise UsageError("invalid limit: use at least 1")
    with sessions() as session:
        return proposals.list_proposals(session, limit=limit)


@use_case
def find_proposal(sessions: Sessions, name: str) -> Proposal:
    """
    Raises:
        NotFoundError: no proposal has this name.
    """
    with sessions() as session:
        return proposals.find(session, name)
