"""Photos in the staff console: pixels and nothing else, with an audit event, or the reason why they are not shown."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import text

from tests.support.console import Browser
from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.domain.staff import Role
from triage.imaging.decoder_pool import IsolatedDecoders
from triage.storage.database import Sessions
from worker.tasks.base import WorkerServices

SECRET = b"Erika Mustermann, 1971"


def jpeg() -> bytes:
    """A photo that lies on its side, with Exif and a comment."""
    image = Image.new("RGB", (900, 600), (200, 120, 90))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = SECRET.decode()
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif, comment=SECRET)
    assert SECRET in file.getvalue()
    return file.getvalue()


def send(services: WorkerServices, data: bytes) -> str:
    """Sends a message with one photo, and returns the path of the photo in the console."""
    [accepted] = services.intake.enqueue([IncomingMessage("ehr", "m-1", [IncomingAttachment(data=data)])])
    return f"/messages/{accepted.id}/photos/{accepted.attachments[0].id}"


def events(sessions: Sessions) -> list[tuple[str, str, bool]]:
    with sessions() as session:
        rows = session.execute(
            text("SELECT actor, subject_id, details FROM audit_event WHERE action = 'photo.seen' ORDER BY position")
        )
        return [(row.actor, str(row.subject_id), row.details["full"]) for row in rows]


def test_photo_is_shown_upright_without_metadata_and_audited(
    services: WorkerServices, logged_in: Callable[..., Browser], sessions: Sessions
) -> None:
    path = send(services, jpeg())
    opened = logged_in(Role.READER)

    small, full = opened.get(f"{path}/thumbnail.jpg"), opened.get(f"{path}/full.jpg")

    for answer, size in ((small, (320, 480)), (full, (600, 900))):
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        assert answer.headers["cache-control"] == "no-store"
        with Image.open(io.BytesIO(answer.content)) as image:
            assert image.size == size
            assert not image.getexif()
        assert SECRET not in answer.content
    message = path.split("/")[2]
    assert events(sessions) == [("staff:dr-7", message, False), ("staff:dr-7", message, True)]
    assert f"{path}/full.jpg" in opened.get(path).text


def test_photo_is_shown_to_nobody_who_is_not_logged_in(
    services: WorkerServices, browser: Callable[[], Browser], sessions: Sessions
) -> None:
    path = send(services, jpeg())
    answer = browser().get(f"{path}/full.jpg")
    assert (answer.status_code, answer.content) == (303, b"")
    assert events(sessions) == []


def test_reason_is_drawn_when_the_photo_cannot_be_shown(
    services: WorkerServices, logged_in: Callable[..., Browser], sessions: Sessions
) -> None:
    path = send(services, b"\xff\xd8\xff\xe0 no photo")
    answer = logged_in().get(f"{path}/thumbnail.jpg")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "image/svg+xml")
    assert "This photo cannot be shown." in answer.text
    assert events(sessions) == []


def test_reason_is_drawn_when_the_photo_crashes_the_decoder(
    services: WorkerServices, logged_in: Callable[..., Browser], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = send(services, jpeg())
    opened = logged_in()
    kill = IsolatedDecoders._process

    def crashing(self: IsolatedDecoders, data: bytes) -> None:
        with kill(self) as process:
            process._process.kill()
            process.decode(data)

    with monkeypatch.context() as patched:
        patched.setattr(IsolatedDecoders, "decode", crashing)
        answer = opened.get(f"{path}/full.jpg")

    assert answer.status_code == 422
    assert "the file crashed the decoder" in answer.text
    assert opened.get(f"{path}/full.jpg").status_code == 200  # the next process works


def test_deleted_photo_is_shown_as_deleted(
    services: WorkerServices, logged_in: Callable[..., Browser], sessions: Sessions
) -> None:
    path = send(services, jpeg())
    with sessions.begin() as session:
        session.execute(text("UPDATE blob SET purge_after = now(), purged_at = now()"))
    opened = logged_in()

    answer, page = opened.get(f"{path}/thumbnail.jpg"), opened.get(path.partition("/photos")[0]).text

    assert answer.status_code == 404
    assert "This photo was deleted." in answer.text
    assert "This photo was deleted." in page
    assert "thumbnail.jpg" not in page


def test_photo_of_another_message_is_not_found(services: WorkerServices, logged_in: Callable[..., Browser]) -> None:
    path = send(services, jpeg())
    photo = path.rpartition("/")[2]
    [other] = services.intake.enqueue([IncomingMessage("ehr", "m-2", [IncomingAttachment(data=jpeg())])])
    assert logged_in().get(f"/messages/{other.id}/photos/{photo}/full.jpg").status_code == 404


def test_map_shows_where_the_quality_is_low_and_is_audited(
    services: WorkerServices, logged_in: Callable[..., Browser], sessions: Sessions, model_folder: Path
) -> None:
    services.registry.promote(services.registry.add_folder(model_folder, actor="test").card.name, actor="test")
    path = send(services, jpeg())
    message = path.partition("/photos")[0]
    opened = logged_in(Role.READER)
    pending = opened.get(f"{path}/map.png")
    assert (pending.status_code, "This photo has no map." in pending.text) == (422, True)
    assert "?map=1" not in opened.get(path).text

    services.scoring.drain()
    answers = [opened.get(f"{path}/map.png") for _ in range(2)]

    assert answers[0].content == answers[1].content
    with Image.open(io.BytesIO(answers[0].content)) as image:
        assert (image.format, image.size) == ("PNG", (597, 896))
    assert f"{path}/map.png" in opened.get(f"{path}?map=1").text
    assert f"{path}/map.png" in opened.get(f"{message}?map=1").text
    assert "map.png" not in opened.get(message).text
    with sessions() as session:
        seen = session.execute(text("SELECT count(*) FROM audit_event WHERE action = 'photo.seen'")).scalar_one()
    assert seen == 2


def test_map_is_refused_when_the_photo_was_removed(
    services: WorkerServices, logged_in: Callable[..., Browser], sessions: Sessions, model_folder: Path
) -> None:
    services.registry.promote(services.registry.add_folder(model_folder, actor="test").card.name, actor="test")
    path = send(services, jpeg())
    services.scoring.drain()
    with sessions.begin() as session:
        session.execute(text("UPDATE blob SET purge_after = now(), purged_at = now()"))

    assert logged_in().get(f"{path}/map.png").status_code == 422
