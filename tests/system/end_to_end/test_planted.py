"""A patient's name is put into photos' metadata, and then looked for in everything that this software leaves behind."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias
from urllib.request import urlopen
from uuid import UUID

import click
import pytest
from redis import Redis

from tests.support.deployment import Deployment, eventually
from tests.support.planted import PATIENT, PLANTED, damaged
from triage.domain.states import AttachmentStatus
from triage.replies import catalogue
from triage.samples.drawing import draw_skin_photo
from triage.storage.role_names import MIGRATOR
from worker.cli import cli
from worker.settings import Settings

pytestmark = pytest.mark.long

Deploy: TypeAlias = Callable[..., AbstractContextManager[Deployment]]

TRACES = tuple(PATIENT.encode(encoding) for encoding in ("ascii", "utf-16-le", "utf-16-be"))


@pytest.fixture
def photos() -> dict[str, bytes]:
    photo = draw_skin_photo(1, size=(96, 128))
    files = {name: make(photo) for name, make in PLANTED.items()}
    return files | {f"{name}-damaged": damaged(data) for name, data in files.items()}


def test_name_in_metadata_is_found_nowhere_afterwards(
    deploy: Deploy, settings: Settings, model_folder: Path, photos: dict[str, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, data in photos.items():
        (folder / f"{name}.jpg").write_bytes(data)
    assert any(PATIENT.encode() in data for data in photos.values())
    with deploy("scoring", "intake") as clinic:
        for number, data in enumerate(photos.values()):
            clinic.send(f"m-{number}", data)
        eventually(lambda: not clinic.query("SELECT 1 FROM attachment WHERE finished_at IS NULL"))

        enqueue = ("enqueue", *_named_after_the_patient(photos, tmp_path), "--message-id", "m-all")
        outputs = [_run(clinic, enqueue, ("wait",))]
        commands = _commands(clinic, folder, tmp_path, model_folder)
        outputs.append(_run(clinic, *commands))
        outputs.append(_run(clinic, ("dataset", "check", tmp_path / "manifest.csv", "--photos"), code=1))
        wrong = _wrong(tmp_path)
        outputs.append(_run(clinic, *wrong, code=2))
        outputs.append(_metrics(clinic))
        statuses = {row.status for row in clinic.query("SELECT status FROM attachment")}
        assert statuses == {AttachmentStatus.SCORED, AttachmentStatus.NOT_ASSESSABLE}
        left = [*outputs, *_rows(clinic), *_redis(settings)]
        owner = settings.embedded.database_url(clinic.services.engine.url.database or "", role=MIGRATOR)
        [(answered,)] = clinic.query(
            "SELECT m.external_id FROM message m JOIN retake_request r ON r.message_id = m.id WHERE r.status = 'sent'"
        )
        last = _last_commands(tmp_path, answered)
        left.append(_run(clinic, *last, database_url=owner))
        left += [*_rows(clinic), *_redis(settings)]
    inputs = (folder, tmp_path / "named")
    files = [file for file in tmp_path.rglob("*") if file.is_file() and not set(file.parents) & set(inputs)]
    assert {"report.html", "scoring.log", "intake.log"} <= {file.name for file in files}
    # the bytes of a photo are stored unchanged, under their hash
    left += [_content(file) for file in files if tmp_path / "blobs" not in file.parents]
    left += [str(file).encode() for file in files]
    assert [text[:200] for text in left if any(trace in text for trace in TRACES)] == []
    run = {" ".join(map(str, command)) for command in (enqueue, ("wait",), *commands, *wrong, *last)}
    assert {name for name in _names(cli) if not any(line.startswith(name) for line in run)} == set(ELSEWHERE)


ELSEWHERE = {
    "demo": "the same with separate services",
    "up": "the same workers, whose logs are read here",
    "down": "stops them",
    "status": "says whether they run",
    "worker": "its processes run here, and their logs are read",
    "beat": "its process runs here, and its log is read",
    "serve": "serves until it is stopped: see `tests/system/api`, which read its log",
    "metrics": "serves until it is stopped: see `_metrics`",
    "console": "serves until it is stopped: see `tests/postgres/console`, which read its pages",
    "staff add": "reads a password: see `tests/postgres/console`",
    "staff password": "reads a password: see `tests/postgres/console`",
}
"""Commands that the test need not call by their names, and why."""


def _commands(clinic: Deployment, folder: Path, tmp_path: Path, model_folder: Path) -> list[tuple[object, ...]]:
    """All commands that read, write or change something, except those that delete."""
    manifest, export, predictions = _tables(folder, tmp_path)
    [request] = json.loads(_run(clinic, ("retakes", "claim", "--limit", "1", "--json")))
    flagged = clinic.query("SELECT id, message_id FROM retake_request WHERE status = 'flagged'")
    asked = flagged[0].message_id
    return [
        ("score", folder, "--model", model_folder, "--json"),
        ("explain", "m-all"),
        ("report", "--format", "html", "--output", tmp_path / "report.html"),
        ("appeal", asked, "--by", "n-1", "--reason", "test"),
        ("review", asked, "--needed", "--answers-appeal", "--by", "n-2"),
        ("review", asked, "--needed", "--by", "n-1"),
        ("sample", "--for", "needless"),
        ("photo-reviews", "create", "planted", "--size", "2"),
        ("photo-reviews", "list"),
        ("photo-reviews", "show", "planted"),
        ("photo-reviews", "close", "planted"),
        ("drift",),
        ("simulate", "--threshold", "0.5", "--save", "p-1"),
        ("proposals", "list"),
        ("proposals", "show", "p-1"),
        ("retakes", "list"),
        ("retakes", "withdraw", flagged[0].id, "--by", "n-1"),
        ("retakes", "claim", "--json"),
        ("retakes", "ack", request["id"], "--token", request["token"]),
        ("decisions",),
        ("opt-out", "--source", "ehr", "--thread", "t-1", "--by", "n-1"),
        ("retry", "--error", "not_found", "--since", "2020-01-01", "--by", "n-1"),
        ("override", "m-1", "--decision", "pass", "--by", "test", "--reason", "test"),
        ("rescore", "--model", "strict", "--since", "2020-01-01"),
        ("runs", "list"),
        ("dataset", "describe", manifest),
        ("dataset", "split", manifest, "-o", tmp_path / "split.csv"),
        ("dataset", "import-redcap", export, "--photos", folder, "-o", tmp_path / "imported.csv"),
        ("train", "--manifest", manifest, "--epochs", "1"),
        ("evaluate", predictions),
        ("predict", "--model", model_folder, "--manifest", manifest, "-o", tmp_path / "predicted.csv"),
        ("compare", tmp_path / "predicted.csv", tmp_path / "predicted.csv"),
        ("label-next", "--photos", folder, "--model", model_folder, "-o", tmp_path / "next.csv"),
        ("models", "add", model_folder),
        ("models", "list"),
        ("models", "card", "strict"),
        ("models", "export", "strict", "-o", tmp_path / "exported"),
        ("models", "thresholds", "strict", predictions),
        ("models", "promote", "strict"),
        ("health", "scoring"),
        ("audit", "verify"),
        ("settings",),
        ("blobs", "adopt", "--by", "op-1"),
        ("clients", "add", "portal", "--scope", "messages.write"),
        ("clients", "rotate", "portal"),
        ("clients", "revoke", "portal"),
        ("clients", "list"),
        ("deliveries", "list"),
        ("deliveries", "retry", "--dead", "--by", "op-1"),
        ("deliveries", "drop", "--dead", "--by", "op-1"),
        ("arrivals", "list"),
        ("arrivals", "retry", "--dead", "--by", "op-1"),
        ("arrivals", "drop", "--dead", "--by", "op-1"),
        ("staff", "list"),
        ("replies", "list"),
        ("replies", "preview", "--locale", "es", "--reasons", "too_dark"),
        ("replies", "check", Path(catalogue.__file__).with_name("locales")),
        ("doctor",),
    ]


def _wrong(tmp_path: Path) -> list[tuple[object, ...]]:
    """Commands whose work fails."""
    return [
        ("dataset", "check", tmp_path / "missing.csv"),
        ("dataset", "suspects", tmp_path / "missing.csv"),
        ("dataset", "from-reviews", "planted", "-o", tmp_path / "labels.csv"),
        ("runs", "show", UUID(int=0)),
        ("models", "rollback"),
        ("models", "shadow", "strict"),
        ("models", "retire", "strict"),
        ("explain", "nowhere"),
        ("deliveries", "stop", "nowhere", "--by", "op-1"),
        ("proposals", "apply", "nowhere", "--by", "n-1"),
        ("staff", "role", "nowhere", "manager"),
        ("staff", "disable", "nowhere"),
        ("staff", "end-sessions", "nowhere"),
        ("fhir", "check"),
        ("fhir", "keys"),
        ("fhir", "subscribe"),
    ]


def _last_commands(tmp_path: Path, answered: str) -> list[tuple[object, ...]]:
    """What the owner of the tables does, and what removes."""
    return [
        ("db", "upgrade"),
        ("db", "check"),
        ("db", "roles", "--sql"),
        ("forget", "m-2", "--by", "op-1", "--reason", "request-17"),
        ("purge", "--days", "1e-9"),
        ("archive", "--days", "1e-9", "--to", tmp_path / "archive"),
        ("forget", answered, "--archive", tmp_path / "archive", "--by", "op-1", "--reason", "request-18"),
    ]


def _tables(folder: Path, tmp_path: Path) -> tuple[Path, Path, Path]:
    """A manifest, an export of REDCap and predictions."""
    photos = sorted(folder.iterdir())
    manifest, export, predictions = (tmp_path / f"{name}.csv" for name in ("manifest", "export", "predictions"))
    manifest.write_text("path,votes\n" + "".join(f"{f},{n % 5}\n" for n, f in enumerate(photos)), encoding="utf-8")
    rows = [f"{file.stem},{reviewer},Yes\n" for file in photos for reviewer in ("a", "b", "c", "d")]
    export.write_text("record_id,reviewer,quality\n" + "".join(rows), encoding="utf-8")
    scores = [f"m-{n // 2},0.{n % 9 + 1},{n // 2 % 2 * 4}\n" for n in range(100)]
    predictions.write_text("group,score,votes\n" + "".join(scores), encoding="utf-8")
    return manifest, export, predictions


def _names(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command that does something."""
    if not isinstance(command, click.Group):
        yield " ".join(path)
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        if (child := command.get_command(context, name)) is not None:
            yield from _names(child, (*path, name))


def _content(file: Path) -> bytes:
    return gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()


def _metrics(clinic: Deployment) -> bytes:
    """The metrics that Prometheus reads, and the output of the command."""
    command = [sys.executable, "-c", "from worker.cli import main; main()", "metrics", "--port", "0"]
    with subprocess.Popen(command, env=clinic.environment, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            with urlopen(f"http://127.0.0.1:{json.loads(line)['port']}/metrics") as answer:
                page: bytes = answer.read()
        finally:
            process.terminate()
        assert b"triage_" in page
        return line + page + process.stderr.read()


def _named_after_the_patient(photos: dict[str, bytes], tmp_path: Path) -> list[Path]:
    folder = tmp_path / "named"
    folder.mkdir()
    files = [folder / f"{PATIENT}-{name}.jpg" for name in photos]
    for file, data in zip(files, photos.values(), strict=True):
        file.write_bytes(data)
    return files


_ONE_AFTER_ANOTHER = """
import json, sys
from pathlib import Path
from worker.cli import main
codes_file, codes = sys.argv[1], []
for command in json.loads(sys.stdin.read()):
    sys.argv = ["triage", *command]
    try:
        main()
    except SystemExit as exit:
        codes.append(exit.code)
Path(codes_file).write_text(json.dumps(codes))
"""


def _run(clinic: Deployment, *commands: tuple[object, ...], code: int = 0, database_url: str | None = None) -> bytes:
    """Stdout and stderr of commands that ended as they should, all of them in one process: each would import torch."""
    environment = clinic.environment | ({"TRIAGE_DATABASE__URL": database_url} if database_url else {})
    codes = clinic.folder / "codes.json"
    done = subprocess.run(
        [sys.executable, "-c", _ONE_AFTER_ANOTHER, str(codes)],
        input=json.dumps([[str(part) for part in command] for command in commands]).encode(),
        capture_output=True,
        env=environment,
        check=False,
    )
    ended = zip((command[0] for command in commands), json.loads(codes.read_bytes()), strict=True)
    assert [each for each in ended if each[1] != code and each != ("doctor", 1)] == [], done.stderr
    return done.stdout + done.stderr


def _rows(clinic: Deployment) -> Iterator[bytes]:
    tables = clinic.query("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    assert len(tables) > 8
    for table in tables:
        for row in clinic.query(f'SELECT t::text FROM "{table.table_name}" t'):
            yield row[0].encode()


def _redis(settings: Settings) -> Iterator[bytes]:
    """Every key with its value, as Redis serialises it."""
    with Redis.from_url(settings.embedded.redis_url) as redis:
        for key in redis.scan_iter():
            yield key
            yield redis.dump(key) or b""
