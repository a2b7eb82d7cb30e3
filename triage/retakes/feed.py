"""The feed of decisions, which a message system reads by a cursor."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from triage.domain.messages import FeedDecision
from triage.errors import UsageError
from triage.storage import feed
from triage.storage.database import Sessions
from triage.storage.use_case import use_case

_CURSOR: Final = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class DecisionPage:
    """A part of the feed.

    Attributes:
        cursor: continues after these decisions.
    """

    decisions: Sequence[FeedDecision]
    cursor: str


@use_case
def list_decisions(
    sessions: Sessions, *, after: str | None = None, sources: Sequence[str] | None = None, limit: int
) -> DecisionPage:
    """Returns the decisions that follow a cursor: each exactly once, in an order that never changes.

    Reading changes no decision and leaves no audit event. A decision on an archived thread has left the feed.

    Args:
        sessions: of the worker role.
        after: the cursor of the page before; by default the start of the feed.
        sources: those that the caller may read; by default all.
        limit: maximum number of decisions. A page with fewer is the last one so far.

    Raises:
        UsageError: the cursor is malformed or newer than this database, which a restored backup can be.
    """
    if after is not None and not _CURSOR.fullmatch(after):
        raise UsageError("invalid cursor: use the cursor of the page before")
    position = int(after or 0)
    with sessions.begin() as session:
        decisions = feed.decisions_after(session, position, sources=sources, limit=limit)
        if len(decisions) < limit:
            feed.number_decisions(session, limit=limit - len(decisions))
            decisions = feed.decisions_after(session, position, sources=sources, limit=limit)
        if not decisions and position > feed.last_position(session):
            raise UsageError("the cursor is newer than this database: use an older cursor, or start without one")
    return DecisionPage(decisions, str(decisions[-1].position if decisions else position))
