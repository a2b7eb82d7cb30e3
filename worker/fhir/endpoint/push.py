"""Takes messages that clients send to this product's own FHIR endpoint: the same reading as on an EHR's server."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from triage.arrivals.follow import follow
from triage.blobs.uris import UriPolicy
from triage.domain.arrivals import Found
from triage.domain.limits import IntakeLimits
from triage.domain.messages import Acceptance, KnownMessage
from triage.errors import (
    AttachmentError,
    ChangedError,
    ErrorCode,
    PhotoRefusedError,
    ServiceUnavailableError,
    TransientError,
)
from triage.intake import Intake
from triage.reports.state import known_messages
from triage.retakes.policy import RetakePolicy
from triage.storage.database import Sessions
from worker.fhir.content import Room
from worker.fhir.endpoint.stored import as_stored
from worker.fhir.endpoint.submissions import Submission
from worker.fhir.reading.inbound import found_in
from worker.fhir.reading.messages import named_requests
from worker.fhir.references import Target

MAX_BYTES: Final = 2**28
"""Of the photos of one request, which are held in memory until all of its messages are accepted."""

_WEB: Final = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a message.

    Attributes:
        name: its id in this product, such as `Communication/1`.
        known: what is stored of it now; None if nothing follows from it.
        acceptance: if it was accepted.
    """

    name: str
    known: KnownMessage | None
    acceptance: Acceptance | None = None

    @property
    def is_new(self) -> bool:
        """Whether this request, and no other one, stored it first."""
        return self.acceptance is not None and self.acceptance.is_new


@dataclass(frozen=True, slots=True)
class Push:
    """Takes the messages of one source. Several threads may use it.

    Attributes:
        limits: of intake.
        max_bytes: of the photos of one request.
    """

    sessions: Sessions
    intake: Intake
    uris: UriPolicy
    source: str
    limits: IntakeLimits
    policy: RetakePolicy
    max_bytes: int = MAX_BYTES

    def find(self, name: str) -> KnownMessage | None:
        """What is stored of a message."""
        return known_messages(self.sessions, [name], source=self.source).get(name)

    def take(self, submissions: Sequence[Submission], *, by: str) -> list[Taken]:
        """Takes messages, all of them or, on an error, none. Idempotent. Nothing is read for a message that is known.

        Conditions hold in the transaction that accepts the messages: of several clients that create a message at the
        same time, one does. The others start again and find it.

        Args:
            submissions: with different ids.
            by: id of the client.

        Raises:
            ConditionError: a condition does not hold.
            UsageError: a message is malformed.
            TooMuchError: the photos have too many bytes together.
            ServiceUnavailableError: retry the whole request.
        """
        while True:
            with suppress(ChangedError):  # each time, another request has got on
                return self._take(submissions, by=by)

    def _take(self, submissions: Sequence[Submission], *, by: str) -> list[Taken]:
        names = [each.name for each in submissions]
        before = known_messages(self.sessions, names, source=self.source)
        for each in submissions:
            each.conditions.check(before.get(each.name))
        server = _Around(self, {each.name: _dumped(each) for each in submissions})
        room = Room(self.max_bytes)
        found = {each.name: self._found(each, server, before.get(each.name), room) for each in submissions}
        versions = {
            each.name: known.version if (known := before.get(each.name)) else 0
            for each in submissions
            if each.conditions.are_given
        }
        followed = follow(
            self.sessions, self.intake, found, source=self.source, by=by, policy=self.policy, versions=versions
        )
        now = known_messages(self.sessions, names, source=self.source)
        return [Taken(name, now.get(name), followed.accepted.get(name)) for name in names]

    def _found(self, submission: Submission, server: "_Around", known: KnownMessage | None, room: Room) -> Found:
        if known is not None and submission.conditions.keeps_known:
            return Found(answers=named_requests(submission.communication))  # a fault may have kept them out
        return found_in(
            submission.communication,
            server,
            source=self.source,
            external_id=submission.name,
            base=None,
            limits=self.limits,
            beside=submission.beside,
            room=room,
        )


def _dumped(submission: Submission) -> Mapping[str, Any]:
    """The elements of a message by which later messages find their thread."""
    return submission.communication.model_dump(
        by_alias=True, include={"resource_type", "status", "part_of", "in_response_to"}
    )


@dataclass(frozen=True, slots=True)
class _Around:
    """What a message that was sent refers to: implements `worker.fhir.reading.photos.Server`.

    Attributes:
        messages: of the same request, by name.
    """

    push: Push
    messages: Mapping[str, Mapping[str, Any]] = field(repr=False)

    def resource(self, target: Target) -> Mapping[str, Any]:
        """A message of the same request, or what is stored of an earlier one."""
        name = str(target)
        if name in self.messages:
            return self.messages[name]
        known = self.push.find(name) if target.type == "Communication" else None
        if known is None:
            raise _not_sent()
        return as_stored(name, known)

    def content(self, url: str, media_type: str | None) -> bytes:  # noqa: ARG002  # the type is not asked for
        """The bytes at a URL below an allowed root."""
        if "://" not in url:
            raise _not_sent()
        try:
            return self.push.uris.fetch_link(url) if url.startswith(_WEB) else self.push.uris.fetch(url)
        except PhotoRefusedError as error:
            raise AttachmentError(
                ErrorCode.FETCH_FAILED, "the server of the photo does not give it: send it again"
            ) from error
        except TransientError as error:
            raise ServiceUnavailableError("the server of a photo does not answer: retry") from error


def _not_sent() -> AttachmentError:
    return AttachmentError(ErrorCode.NOT_FOUND, "the message came without what it refers to: send both")
