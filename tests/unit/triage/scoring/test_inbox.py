"""How long the inbox waits for a database that does not respond."""

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from triage.domain.ids import LeaseToken, ModelVersionId, new_id
from triage.domain.limits import RetryRules
from triage.domain.messages import Claim
from triage.domain.photos import AssessedBatch
from triage.errors import DatabaseUnavailableError
from triage.retakes.policy import RetakePolicy
from triage.scoring.inbox import Inbox
from triage.storage.database import create_database_engine, create_sessions

LEASE = timedelta(seconds=2)


@pytest.mark.parametrize("finish", ["record", "release"])
@pytest.mark.parametrize(("age", "retries"), [(0.0, True), (2.0, False)])
def test_claim_is_retried_until_its_lease_expires(tmp_path: Path, finish: str, age: float, retries: bool) -> None:
    engine = create_database_engine(f"postgresql+psycopg://nobody@/none?host={tmp_path}")
    attempts: list[int] = []
    event.listen(engine, "do_connect", lambda *_: attempts.append(1))
    inbox = Inbox(create_sessions(engine), lease=LEASE, rules=RetryRules(), policy=RetakePolicy())
    claim = Claim(LeaseToken(new_id()), [], at=time.monotonic() - age)
    batch = AssessedBatch(ModelVersionId(new_id()), 0.5, [])
    calls: dict[str, Callable[[], object]] = {
        "record": lambda: inbox.record(claim, batch),
        "release": lambda: inbox.release(claim),
    }

    with pytest.raises(DatabaseUnavailableError):
        calls[finish]()

    assert (len(attempts) > 1) is retries
    engine.dispose()
