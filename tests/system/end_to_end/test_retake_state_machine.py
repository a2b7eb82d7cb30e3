"""Random histories of messages and senders: no request is handed out unless the latest decision asks for a retake."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.clinic import Clinic
from tests.support.rescoring import OtherModel, rescore
from triage.blobs.store import BlobStore
from triage.domain.ids import LeaseToken, RetakeRequestId
from triage.domain.messages import RetakeRequest
from triage.domain.states import Outcome, RetakeStatus
from triage.errors import LeaseLostError, UsageError
from triage.retakes import requests
from triage.retakes.opt_out import opt_out
from triage.retakes.override import override
from triage.retention.forget import forget
from triage.retention.purge import Retention

pytestmark = pytest.mark.long

MINUTE = timedelta(minutes=1)
SCORES = st.sampled_from([0.1, 0.9])
INDEX = st.integers(0, 3)

UNJUSTIFIED = """
    SELECT m.external_id FROM retake_request r
    JOIN message m ON m.id = r.message_id JOIN decision d ON d.id = m.current_decision_id
    WHERE r.status IN ('flagged', 'claimed') AND d.outcome <> 'retake'
"""


class Machine(RuleBasedStateMachine):
    """Messages, some in one thread, and two senders. Every rule is one call that a user can make."""

    clinic: Clinic
    other: OtherModel
    retention: Retention

    def __init__(self) -> None:
        super().__init__()
        self.example = uuid4().hex  # the database is shared by all examples
        self.messages: list[str] = []
        self.forgotten: set[str] = set()
        self.opted_out: set[str] = set()
        self.photos = 0
        self.tokens: dict[RetakeRequestId, list[LeaseToken]] = {}
        self.ended: dict[RetakeRequestId, RetakeStatus] = {}

    def _photo(self, score: float) -> str:
        self.photos += 1
        return f"{self.example}-{self.photos}/{score}"

    def _pick(self, index: int) -> str:
        return self.messages[index % len(self.messages)]

    @initialize()
    def start_with_two_requests(self) -> None:
        for _ in range(2):
            self._send(0.1, thread=None, group=None)

    @rule(score=SCORES, thread=st.sampled_from([None, "a"]), group=st.sampled_from([None, "arm"]))
    def send(self, score: float, thread: str | None, group: str | None) -> None:
        self._send(score, thread, group)

    def _send(self, score: float, thread: str | None, group: str | None) -> None:
        message = f"{self.example}-m{len(self.messages)}"
        self.messages.append(message)
        self.clinic.send(
            message, self._photo(score), thread=f"{self.example}-{thread}" if thread else None, group=group
        )
        self.clinic.drain()

    @precondition(lambda self: self.messages)
    @rule(index=INDEX, score=SCORES)
    def add_photo(self, index: int, score: float) -> None:
        message = self._pick(index)
        if message not in self.forgotten:
            self.clinic.send(message, self._photo(score))
            self.clinic.drain()

    @precondition(lambda self: self.messages)
    @rule(index=INDEX, outcome=st.sampled_from([Outcome.PASS, Outcome.RETAKE]))
    def decide(self, index: int, outcome: Outcome) -> None:
        try:
            override(
                self.clinic.sessions,
                self._pick(index),
                outcome,
                by="nurse-1",
                reason="seen",
                policy=self.clinic.policy,
            )
        except UsageError:  # the limit of requests, or a forgotten message
            return

    @precondition(lambda self: len(self.messages) > 3)
    @rule(thread=st.sampled_from(["a", "m3", "m9"]))
    def opt_out(self, thread: str) -> None:
        name = f"{self.example}-{thread}"  # of several messages, of a message without a thread, or not known yet
        self.opted_out.add(name)
        opt_out(self.clinic.sessions, source="ehr", thread=name, by="nurse-1", policy=self.clinic.policy)

    @precondition(lambda self: len(self.messages) > 4)
    @rule(index=INDEX)
    def forget(self, index: int) -> None:
        message = self._pick(index)
        if message not in self.forgotten:
            self.forgotten.add(message)
            forget(
                self.clinic.sessions,
                self.retention,
                message,
                by="nurse-1",
                reason="erasure-request",
                policy=self.clinic.policy,
            )

    @rule(score=SCORES)
    def rescore(self, score: float) -> None:
        self.other.score = score
        rescore(self.clinic, self.other)

    @rule(sender=st.sampled_from(["ehr", "portal"]), limit=st.sampled_from([9, 1]))
    def claim(self, sender: str, limit: int) -> None:
        for request in requests.claim(self.clinic.sessions, limit=limit, lease=MINUTE, by=sender):
            assert request.token is not None
            assert request.id not in self.ended
            assert self._outcome(request) == "retake"
            assert request.thread not in self.opted_out
            self.tokens.setdefault(request.id, []).append(request.token)

    def _outcome(self, request: RetakeRequest) -> str:
        [row] = self.clinic.query(
            "SELECT d.outcome FROM message m JOIN decision d ON d.id = m.current_decision_id WHERE m.id = :id",
            id=request.message_id,
        )
        return str(row.outcome)

    @rule()
    def leases_expire(self) -> None:
        self.clinic.execute(
            "UPDATE retake_request SET lease_until = clock_timestamp() - interval '1 s' WHERE status = 'claimed'"
        )

    @rule(hours=st.sampled_from([1, 48]))
    def time_passes(self, hours: int) -> None:
        self.clinic.let_time_pass(hours)

    @precondition(lambda self: self.tokens)
    @rule(index=INDEX, last=st.booleans())
    def acknowledge(self, index: int, last: bool) -> None:
        request_id = list(self.tokens)[index % len(self.tokens)]
        tokens = self.tokens[request_id]
        token = tokens[-1] if last else tokens[0]
        if token != tokens[-1]:
            with pytest.raises(LeaseLostError):
                requests.acknowledge(self.clinic.sessions, request_id, token, by="ehr")
            return
        request = requests.acknowledge(self.clinic.sessions, request_id, token, by="ehr")
        assert request.may_have_been_sent
        assert request.status is self.ended.setdefault(request_id, request.status)
        assert request.status in {RetakeStatus.SENT, RetakeStatus.WITHDRAWN}

    @precondition(lambda self: self.tokens)
    @rule(index=INDEX)
    def withdraw(self, index: int) -> None:
        request_id = list(self.tokens)[index % len(self.tokens)]
        try:
            requests.withdraw(self.clinic.sessions, request_id, by="nurse-1")
        except UsageError:  # sent or withdrawn before
            return
        self.ended[request_id] = RetakeStatus.WITHDRAWN

    @invariant()
    def only_retakes_have_open_requests(self) -> None:
        assert self.clinic.query(UNJUSTIFIED) == []

    def teardown(self) -> None:
        self.clinic.execute("UPDATE retake_request SET status = 'withdrawn', lease_until = NULL WHERE status <> 'sent'")


def test_request_is_handed_out_only_while_the_latest_decision_is_retake(
    clinic: Clinic, make_other: Callable[[float], OtherModel], tmp_path: Path
) -> None:
    class OfThisDatabase(Machine):
        pass

    OfThisDatabase.clinic = clinic
    OfThisDatabase.other = make_other(0.9)
    OfThisDatabase.retention = Retention(clinic.sessions, BlobStore(str(tmp_path)), keep=timedelta(days=1))
    run_state_machine_as_test(
        OfThisDatabase,
        settings=settings(
            max_examples=12,
            stateful_step_count=60,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
