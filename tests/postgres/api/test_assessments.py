"""Photos that are checked before they are sent: a worker's drain answers, and nothing is left behind."""

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support.api import Headers, working
from triage.domain.scopes import Scope
from triage.files.received import ReceivedBytes
from triage.replies.catalogue import shipped_catalogue
from triage.storage import assessments as rows
from worker.api.app import create_app
from worker.settings import Settings
from worker.tasks.base import WorkerServices


@pytest.fixture
def key(as_client: Callable[..., Headers]) -> Headers:
    return as_client(Scope.PHOTOS_ASSESS)


def _post(api: TestClient, key: Headers, photo: bytes, locale: str | None = None) -> Any:
    data = {} if locale is None else {"locale": locale}
    return api.post("/v1/assessments", headers=key, data=data, files={"photo": ("Mustermann.jpg", photo, "image/jpeg")})


def _left(services: WorkerServices) -> tuple[int, int]:
    """The number of assessments and of photos that are stored."""
    with services.sessions() as session:
        waiting = len(rows.claim(session, limit=99)) + len(rows.expired(session))
    folder = Path(services.settings.blobs_url)
    return waiting, sum(path.is_file() and len(path.name) == 64 for path in folder.rglob("*"))


def test_photo_is_assessed_with_a_tip_and_forgotten(
    api: TestClient, key: Headers, services: WorkerServices, model_folder: Path, jpeg: Callable[..., bytes]
) -> None:
    with working(services, model_folder):
        answer = _post(api, key, jpeg(1), "es-MX")
        broken = _post(api, key, b"no photo")

    document = answer.json()
    assert (answer.status_code, document["model"], document["error_code"]) == (200, "strict", None)
    assert not document["acceptable"]  # by this model, no photo is
    assert 0 <= document["score"] <= 1
    spanish = shipped_catalogue().texts_for("es")
    assert (document["tip"]["locale"], document["tip"]["catalogue_version"]) == ("es", spanish.version)
    assert document["tip"]["text"].split("\n\n")[0] in spanish.instructions.values()
    assert broken.json() | {"tip": None} == {
        "acceptable": False,
        "score": None,
        "reasons": [],
        "tip": None,
        "error_code": "unknown_format",
        "model": "strict",
    }
    assert _left(services) == (0, 0)
    with services.sessions() as session:
        assert session.connection().exec_driver_sql("SELECT count(*) FROM attachment").scalar() == 0


def test_photo_of_a_message_is_kept_when_it_was_checked_before(
    api: TestClient,
    as_client: Callable[..., Headers],
    services: WorkerServices,
    model_folder: Path,
    jpeg: Callable[..., bytes],
) -> None:
    key = as_client()
    message = {"message": (None, '{"source": "ehr", "message_id": "m-1"}', "application/json")}
    assert api.post("/v1/messages", headers=key, files=message | {"photo": ("a", jpeg(1))}).status_code == 202

    with working(services, model_folder):
        assert _post(api, key, jpeg(1)).status_code == 200

    assert _left(services) == (0, 1)


@pytest.fixture
def impatient(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"api": settings.api.model_copy(update={"assessment_seconds": 1.0, "max_assessments": 1})}
    )


def test_answer_is_503_and_nothing_is_left_when_no_worker_answers(
    impatient: Settings, as_client: Callable[..., Headers], jpeg: Callable[..., bytes]
) -> None:
    key = as_client()
    with WorkerServices(impatient) as services, TestClient(create_app(services, "http://testserver")) as api:
        began = time.monotonic()
        answer = _post(api, key, jpeg(1))

        assert time.monotonic() - began >= 1
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert _left(services) == (0, 0)


def _received(data: bytes) -> ReceivedBytes:
    received = ReceivedBytes(keep=10**6)
    received.write(data)
    return received


def test_photo_is_refused_at_once_when_too_many_wait(
    impatient: Settings, as_client: Callable[..., Headers], jpeg: Callable[..., bytes]
) -> None:
    key = as_client()
    with WorkerServices(impatient) as services, TestClient(create_app(services, "http://testserver")) as api:
        with _received(jpeg(1)) as photo:
            waiting = services.assessments.submit(photo)

        assert _post(api, key, jpeg(2)).status_code == 503

        services.assessments.finish(waiting)
        services.assessments.finish(waiting)
        assert _left(services) == (0, 0)


def test_photo_is_deleted_when_postgres_has_lost_its_row(impatient: Settings, jpeg: Callable[..., bytes]) -> None:
    """A crash of Postgres empties tables that are not logged."""
    with WorkerServices(impatient) as services:
        with _received(jpeg(1)) as photo:
            waiting = services.assessments.submit(photo)
        with services.sessions.begin() as session:
            rows.remove(session, [waiting])
        assert _left(services) == (0, 1)

        services.assessments.finish(waiting)

        assert _left(services) == (0, 0)


def test_sweep_deletes_what_a_killed_server_left(impatient: Settings, jpeg: Callable[..., bytes]) -> None:
    with WorkerServices(impatient) as services:
        with _received(jpeg(1)) as photo:
            services.assessments.submit(photo)
        assert services.assessments.sweep() == 0
        time.sleep(1.1)

        assert services.assessments.claim(9) is None
        assert services.assessments.sweep() == 1
        assert _left(services) == (0, 0)


@pytest.mark.parametrize(
    ("files", "data", "status"),
    [
        ([], {"locale": "es"}, 415),
        ([("a", b"1"), ("b", b"2")], {}, 400),
        ([("a", b"1")], {"locale": "es_MX"}, 400),
        ([("a", b"1")], {"locale": "e" * 100}, 413),
    ],
)
def test_malformed_request_is_refused(
    api: TestClient, key: Headers, files: list[tuple[str, bytes]], data: dict[str, str], status: int
) -> None:
    parts = [(name, ("x.jpg", io.BytesIO(content), "image/jpeg")) for name, content in files]

    answer = api.post("/v1/assessments", headers=key, data=data, files=parts)

    assert answer.status_code == status
