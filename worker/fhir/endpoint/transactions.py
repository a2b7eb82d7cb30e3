"""Transactions: a Bundle of messages with the Binary, DocumentReference and Media resources that they refer to.

Source: https://hl7.org/fhir/R4/http.html#transaction.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import Field

from triage.errors import TriageError, UsageError
from worker.fhir.elements import Element, Resource
from worker.fhir.endpoint.submissions import Submission, to_create, to_update

MAX_ENTRIES: Final = 500
MAX_MESSAGES: Final = 100

_CONTENT: Final = frozenset({"Binary", "DocumentReference", "Media"})
_URL: Final = re.compile(r"([A-Z][A-Za-z]{1,63})(?:/([A-Za-z0-9\-.]{1,64}))?")
_ABSOLUTE: Final = re.compile(r"https?://[^\s?#]+/([A-Z][A-Za-z]{1,63}/[A-Za-z0-9\-.]{1,64})")


class UnsupportedError(TriageError):
    """The Bundle is valid, and asks for what this server does not do."""


class _Request(Element):
    method: str
    url: str
    if_none_exist: str | None = Field(None, alias="ifNoneExist")
    if_match: str | None = Field(None, alias="ifMatch")
    if_none_match: str | None = Field(None, alias="ifNoneMatch")


class _Entry(Element):
    full_url: str | None = Field(None, alias="fullUrl")
    resource: dict[str, Any] = Field(repr=False)
    request: _Request


class _Bundle(Resource):
    resource_type: Literal["Bundle"] = Field(alias="resourceType")
    type: str
    entry: list[_Entry] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Transaction:
    """
    Attributes:
        entries: by entry of the Bundle, the message, or None for content of messages.
        updates: whether a message is sent by PUT.
    """

    entries: Sequence[Submission | None]
    updates: bool

    @property
    def submissions(self) -> list[Submission]:
        return [each for each in self.entries if each is not None]


def read_transaction(resource: Mapping[str, Any]) -> Transaction:
    """The messages of a Bundle, each with the resources that it may refer to.

    Raises:
        UsageError: the Bundle or a message is malformed.
        UnsupportedError: it is no transaction, is too long, names something twice, or has entries of other kinds.
    """
    if isinstance(entries := resource.get("entry"), list) and len(entries) > MAX_ENTRIES:
        raise UnsupportedError(f"the bundle has more than {MAX_ENTRIES} entries: send several")
    bundle = _Bundle.read(resource)
    if bundle.type != "transaction":
        raise UnsupportedError("the bundle is not of the type transaction: send a transaction")
    content: dict[str, Mapping[str, Any]] = {}
    messages: dict[str, str] = {}
    entries_ = [_submission(entry, index) for index, entry in enumerate(bundle.entry)]
    for entry, submission in zip(bundle.entry, entries_, strict=True):
        for name in _names_of(entry):
            if name in content or name in messages:
                raise UnsupportedError("two entries have the same name: give each fullUrl and each id once")
            if submission is None:
                content[name] = entry.resource
            else:
                messages[name] = submission.name
    submissions = [each for each in entries_ if each is not None]
    if len(submissions) > MAX_MESSAGES:
        raise UnsupportedError(f"the bundle has more than {MAX_MESSAGES} messages: send several")
    if len({each.id for each in submissions}) < len(submissions):
        raise UnsupportedError("two entries are the same message: send each message once")
    complete = [each and each.within(messages, content) for each in entries_]
    return Transaction(complete, updates=any(entry.request.method == "PUT" for entry in bundle.entry))


def _submission(entry: _Entry, index: int) -> Submission | None:
    """
    Raises:
        UsageError: the request of the entry is malformed.
        UnsupportedError: it is another interaction.
    """
    request = entry.request
    url = _URL.fullmatch(request.url)
    if request.method not in {"POST", "PUT"} or url is None or bool(url[2]) != (request.method == "PUT"):
        raise UnsupportedError(f"entry {index} is neither POST of a type nor PUT of a type and an id: send only these")
    if url[1] != entry.resource.get("resourceType"):
        raise UsageError(f"entry {index} has a resource of another type than its request: send the same in both")
    if url[1] in _CONTENT:
        return None
    if url[1] != "Communication":
        raise UnsupportedError(
            f"entry {index} is neither a Communication nor a {', '.join(sorted(_CONTENT))}: leave it out"
        )
    if url[2] is None:
        return to_create(entry.resource, request.if_none_exist)
    return to_update(entry.resource, url[2], if_match=request.if_match, if_none_match=request.if_none_match)


def _names_of(entry: _Entry) -> set[str]:
    """How other entries refer to this one: by its full URL, or by the type and id at the end of it."""
    names = {entry.full_url} if entry.full_url else set()
    if entry.full_url and (found := _ABSOLUTE.fullmatch(entry.full_url)):
        names.add(found[1])
    if entry.request.method == "PUT":
        names.add(entry.request.url)
    return names
