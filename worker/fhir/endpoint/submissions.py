"""Messages that a client sends to this product's own FHIR endpoint: their ids, and on what conditions they are taken.

The id of a message that is created is made from its first identifier, so that nothing else need be stored to recognise
a message that is sent again.

Source: https://hl7.org/fhir/R4/http.html#create, #cond-update, #concurrency.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self
from urllib.parse import parse_qsl
from uuid import uuid4

from triage.domain.messages import KnownMessage
from triage.errors import TriageError, UsageError
from worker.fhir.elements import Communication, Identifier, Reference
from worker.fhir.references import Target

_ETAG: Final = re.compile(r'(?:W/)?"([^"]{0,64})"')


class ConditionError(TriageError):
    """The message is not in the state that the client expects."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What must be true of a message that is stored already.

    Attributes:
        keeps_known: a message that is known stays as it is.
        match: its versions; None for any, and also for none.
        none_match: it must not be known.
    """

    keeps_known: bool = False
    match: frozenset[str] | None = None
    none_match: bool = False

    @property
    def are_given(self) -> bool:
        return self.keeps_known or self.none_match or self.match is not None

    def check(self, known: KnownMessage | None) -> None:
        """
        Raises:
            ConditionError: the message is in another state.
        """
        if self.none_match and known is not None:
            raise ConditionError("the message exists: leave out If-None-Match to update it")
        if self.match is not None and (known is None or not self.match & {"*", str(known.version)}):
            raise ConditionError("the message is not of the version in If-Match: read it, then send it again")


@dataclass(frozen=True, slots=True)
class Submission:
    """A message that a client sends.

    Attributes:
        beside: resources that came with it, by the reference to each.
    """

    id: str
    communication: Communication
    conditions: Conditions = field(default_factory=Conditions)
    beside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The id of the message in this product."""
        return str(Target("Communication", self.id))

    def within(self, names: Mapping[str, str], beside: Mapping[str, Mapping[str, Any]]) -> Self:
        """The message as a part of its transaction.

        Args:
            names: the messages of the transaction, such as `Communication/1`, by what its entries call them.
            beside: its other resources, likewise.
        """

        def change(references: Sequence[Reference]) -> list[Reference]:
            return [
                each.model_copy(update={"reference": names.get(each.reference or "", each.reference)})
                for each in references
            ]

        message = self.communication
        links = {"part_of": change(message.part_of), "in_response_to": change(message.in_response_to)}
        return replace(self, communication=message.model_copy(update=links), beside=beside)


def to_create(resource: Mapping[str, Any], if_none_exist: str | None) -> Submission:
    """A message to create. It gets an id from its first identifier, without one a random id.

    Args:
        resource: the Communication.
        if_none_exist: the condition of a conditional create, such as `identifier=urn:oid:1.2|m-1`.

    Raises:
        UsageError: the resource or the condition is malformed, or the condition names another identifier.
    """
    communication = Communication.read(resource)
    identifier = next(iter(communication.identifier), None)
    if if_none_exist is not None and not _names(if_none_exist, identifier):
        raise UsageError("invalid If-None-Exist: use the first identifier of the message, identifier=SYSTEM|VALUE")
    return Submission(_id_of(identifier), communication, Conditions(keeps_known=if_none_exist is not None))


def to_update(
    resource: Mapping[str, Any], id_: str, *, if_match: str | None = None, if_none_match: str | None = None
) -> Submission:
    """A message to update, or to create under an id of the client.

    Args:
        resource: the Communication, with this id.
        id_: of the message.
        if_match: the header of this name.
        if_none_match: likewise; only `*` has an effect.

    Raises:
        UsageError: the resource, its id or a condition is malformed.
    """
    communication = Communication.read(resource)
    if communication.id is None or communication.id != id_:
        raise UsageError("the id of the message differs from that of the URL: send the same in both")
    return Submission(id_, communication, Conditions(match=_versions(if_match), none_match=if_none_match == "*"))


def _id_of(identifier: Identifier | None) -> str:
    if identifier is None or identifier.value is None:
        return str(uuid4())
    text = f"{identifier.system or ''}|{identifier.value}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _names(condition: str, identifier: Identifier | None) -> bool:
    """Whether a condition, raw or percent-encoded, with or without `Communication?`, is this identifier."""
    if identifier is None or identifier.value is None:
        return False
    try:
        fields = parse_qsl(condition.removeprefix("Communication?"), strict_parsing=True, max_num_fields=2)
    except ValueError:
        return False
    value = identifier.value
    tokens = {f"{identifier.system or ''}|{value}", value}
    return len(fields) == 1 and fields[0][0] == "identifier" and fields[0][1] in tokens


def _versions(header: str | None) -> frozenset[str] | None:
    if header is None:
        return None
    if header.strip() == "*":
        return frozenset("*")
    return frozenset(_ETAG.findall(header))
