"""Actors: the ids under which decisions and the audit trail record who did something."""

import re
from typing import Final

from triage.errors import UsageError

_ACTOR: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@/+-]{0,63}")


def check_actor(actor: str) -> str:
    """Returns the id of a person or system unchanged if it is well-formed.

    An actor is stored permanently, so free text, which may name a person, is rejected.

    Raises:
        UsageError: the id is malformed.
    """
    if not isinstance(actor, str) or not _ACTOR.fullmatch(actor):
        raise UsageError("invalid actor id: use 1 to 64 letters, digits or `._:@/+-` (stored permanently)")
    return actor
