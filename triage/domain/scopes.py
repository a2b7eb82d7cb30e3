"""What a client of the HTTP interface may do."""

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
    Scope.METRICS_READ: "read the metrics of the server",
}
"""One line on each scope."""


ACROSS_SOURCES: Final = frozenset({Scope.REPORTS_READ})
"""Scopes that a client limited to some sources cannot have: a report counts the messages of all."""


def known_scopes(names: list[str]) -> frozenset[Scope]:
    """The scopes among these names. Others, such as those of other systems in a token, permit nothing."""
    return frozenset(scope for scope in Scope if scope.value in names)
