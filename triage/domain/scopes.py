"""What a client of the HTTP interface may do.

Below `/fhir`, scopes have the names of SMART App Launch 2.2 too, such as `system/Communication.cu` or, in version 1,
`system/Communication.write`. They are names of the same permissions.
"""

import re
from collections.abc import Collection
from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """A permission of a client. Stable names: identity providers and clients rely on them."""

    MESSAGES_WRITE = "messages.write"
    MESSAGES_READ = "messages.read"
    PHOTOS_ASSESS = "photos.assess"
    RETAKES_READ = "retakes.read"
    RETAKES_WRITE = "retakes.write"
    DECISIONS_READ = "decisions.read"
    DECISIONS_WRITE = "decisions.write"
    REPORTS_READ = "reports.read"
    FHIR_NOTIFY = "fhir.notify"
    FHIR_CREATE = "fhir.create"
    FHIR_UPDATE = "fhir.update"
    FHIR_READ = "fhir.read"
    METRICS_READ = "metrics.read"


MEANINGS: Final = {
    Scope.MESSAGES_WRITE: "submit messages with photos, opt threads out",
    Scope.MESSAGES_READ: "read the state of messages and the verdicts on photos",
    Scope.PHOTOS_ASSESS: "check photos before they are sent",
    Scope.RETAKES_READ: "list retake requests",
    Scope.RETAKES_WRITE: "claim, acknowledge and withdraw retake requests",
    Scope.DECISIONS_READ: "read the feed of decisions",
    Scope.DECISIONS_WRITE: "decide messages for a person",
    Scope.REPORTS_READ: "read reports over many messages",
    Scope.FHIR_NOTIFY: "notify of messages on the FHIR server that the settings name",
    Scope.FHIR_CREATE: "create messages as Communication",
    Scope.FHIR_UPDATE: "update messages as Communication, or create them under an id of the client",
    Scope.FHIR_READ: "read what is known of messages as Communication",
    Scope.METRICS_READ: "read the metrics of the server",
}
"""One line on each scope."""


ACROSS_SOURCES: Final = frozenset({Scope.REPORTS_READ})
"""Scopes that a client limited to some sources cannot have: a report counts the messages of all."""


_SMART: Final = re.compile(r"system/(Communication|\*)\.(c?r?u?d?s?|read|write|\*)")
_BY_LETTER: Final = {"c": Scope.FHIR_CREATE, "r": Scope.FHIR_READ, "u": Scope.FHIR_UPDATE}
_VERSION_1: Final = {"read": "r", "write": "cu", "*": "cru"}


def known_scopes(names: Collection[str]) -> frozenset[Scope]:
    """The scopes among these names. Others, such as those of other systems in a token, permit nothing.

    >>> known_scopes(["system/Communication.cu", "openid"]) == {Scope.FHIR_CREATE, Scope.FHIR_UPDATE}
    True
    """
    own = frozenset(scope for scope in Scope if scope.value in names)
    smart = [found[2] for name in names if isinstance(name, str) and (found := _SMART.fullmatch(name))]
    return own.union(_BY_LETTER[letter] for each in smart for letter in _VERSION_1.get(each, each) if letter in "cru")


def scope_names(scopes: Collection[Scope]) -> list[str]:
    """The names of scopes, and the one that SMART gives to those below `/fhir`.

    >>> scope_names({Scope.FHIR_CREATE, Scope.FHIR_UPDATE})
    ['fhir.create', 'fhir.update', 'system/Communication.cu']
    """
    letters = "".join(letter for letter, scope in _BY_LETTER.items() if scope in scopes)
    return sorted(scope.value for scope in scopes) + ([f"system/Communication.{letters}"] if letters else [])
