"""Whatever is wrong ends in one clear line and the documented exit code, and touches nothing else."""

import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self, TypeAlias

import pytest
from sqlalchemy import text

from tests.support.command_line import Result
from triage.storage.database import Sessions
from triage.storage.role_names import MIGRATOR
from worker.doctor import services as service_checks
from worker.settings import load_settings
from worker.state_folder import StateFolder
from worker.tasks.base import WorkerServices

pytestmark = pytest.mark.long

Triage: TypeAlias = Callable[..., Result]
PATIENT = "Erika-Mustermann"
DONE, FAILED, USAGE, UNREACHABLE = 0, 1, 2, 3
NOWHERE = "018f0000-0000-7000-8000-000000000000"


def _png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is and then ends."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.fixture
def bad_files(tmp_path: Path, jpeg: Callable[..., bytes]) -> dict[str, Path]:
    """Files by the error code that each gets; `missing.jpg` is not there."""
    contents = {
        "empty": b"",
        "unknown_format": b"Dear doctor, I could not find the camera.",
        "truncated": jpeg(1)[:1500],
        "too_many_pixels": _png_header(30_000, 30_000),
        "too_small": jpeg(1, width=20, height=20),
    }
    files = {code: tmp_path / f"{code}.jpg" for code in (*contents, "not_found")}
    for code, data in contents.items():
        files[code].write_bytes(data)
    return files


def test_score_gives_each_file_its_outcome_when_some_are_bad(
    triage: Triage, model_folder: Path, bad_files: dict[str, Path], tmp_path: Path, jpeg: Callable[..., bytes]
) -> None:
    good = tmp_path / "good.jpg"
    good.write_bytes(jpeg(3))
    paths = [*bad_files.values(), good]

    result = triage("score", *paths, "--model", model_folder, "--json")

    assert result.code == DONE
    assert result.err.startswith("7 photos read: 1 scored, 6 not assessable (")
    assert [row["path"] for row in result.json] == [str(path) for path in paths]
    assert [row["error"]["code"] for row in result.json[:-1]] == list(bad_files)
    assert {row["outcome"] for row in result.json[:-1]} == {"not_assessable"}
    scored = result.json[-1]
    assert scored["outcome"] == "scored"
    assert scored["model"] == "strict"
    assert (len(scored["cumulative"]), len(scored["patch_scores"])) == (4, 5)
    keys = "path outcome acceptable score cumulative grade patch_scores findings error model photo"
    assert all(list(row) == keys.split() for row in result.json)


def test_each_photo_gets_its_code_or_score_when_a_message_has_good_and_bad_ones(
    triage: Triage, model_folder: Path, bad_files: dict[str, Path], tmp_path: Path, jpeg: Callable[..., bytes]
) -> None:
    (tmp_path / "good.jpg").write_bytes(jpeg(3))
    paths = [*(path for path in bad_files.values() if path.exists()), tmp_path / "good.jpg"]
    assert triage("models", "add", model_folder).code == DONE
    assert triage("models", "promote", "strict").code == DONE

    assert triage("enqueue", *paths, "--message-id", "m-1").code == DONE
    with WorkerServices(load_settings()) as services:
        services.scoring.drain()

    attachments = triage("explain", "m-1", "--json").json["attachments"]
    codes = [code for code, path in bad_files.items() if path.exists()]
    assert [attachment["error_code"] for attachment in attachments] == [*codes, None]
    assert [len(attachment["verdicts"]) for attachment in attachments] == [0] * len(codes) + [1]


def test_enqueue_accepts_nothing_when_a_file_is_missing(
    triage: Triage, tmp_path: Path, jpeg: Callable[..., bytes], sessions: Sessions
) -> None:
    (tmp_path / "good.jpg").write_bytes(jpeg(1))

    result = triage("enqueue", tmp_path / "good.jpg", tmp_path / "missing.jpg")

    assert result.code == USAGE
    assert "nothing was enqueued" in result.complaint()
    with sessions() as session:
        assert session.scalar(text("SELECT count(*) FROM message")) == 0


def test_enqueue_records_a_uri_outside_the_allow_list_and_keeps_the_rest(
    triage: Triage, tmp_path: Path, jpeg: Callable[..., bytes]
) -> None:
    (tmp_path / "good.jpg").write_bytes(jpeg(1))

    result = triage("enqueue", tmp_path / "good.jpg", "file:///etc/passwd", "--message-id", "m-1", "--json")

    assert result.code == DONE
    states = [(item["status"], item["error_code"]) for item in result.json["attachments"]]
    assert states == [("pending", None), ("not_assessable", "uri_not_allowed")]


def test_database_that_is_down_is_named(triage: Triage, environment: Callable[[str, str], None]) -> None:
    environment("DATABASE__URL", "postgresql+psycopg://postgres:secret@127.0.0.1:1/triage?connect_timeout=2")

    for command in (
        ["report"],
        ["explain", "m-1"],
        ["retakes", "list"],
        ["models", "list"],
        ["runs"],
        ["wait"],
        ["db", "check"],
        ["enqueue", __file__],
    ):
        result = triage(*command)
        assert result.code == UNREACHABLE
        assert "Postgres" in result.complaint()
        assert "secret" not in result.err


def test_enqueue_works_when_redis_is_down(
    triage: Triage, environment: Callable[[str, str], None], tmp_path: Path, jpeg: Callable[..., bytes]
) -> None:
    environment("REDIS__URL", "redis://:secret@127.0.0.1:1/0")
    environment("REDIS__SOCKET_TIMEOUT_SECONDS", "1")
    (tmp_path / "good.jpg").write_bytes(jpeg(1))

    result = triage("enqueue", tmp_path / "good.jpg", "--json")

    assert result.code == DONE
    assert result.json["created"]
    assert json.loads(result.complaint())["event"] == "redis.unavailable"
    assert "secret" not in result.err


def test_doctor_names_each_unavailable_service_and_its_remedy(
    triage: Triage, environment: Callable[[str, str], None]
) -> None:
    environment("REDIS__URL", "redis://127.0.0.1:1/0")
    environment("REDIS__SOCKET_TIMEOUT_SECONDS", "1")

    result = triage("doctor", "--json")

    assert result.code == UNREACHABLE
    checks = {check["name"]: check for check in result.json}
    assert checks["postgres"]["ok"]
    assert not checks["redis"]["ok"]
    assert "TRIAGE_REDIS__URL" in checks["redis"]["remedy"]
    assert "triage models" in checks["live model"]["remedy"]


def test_doctor_compares_clocks(triage: Triage, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fast(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(hours=3)

    def clock() -> dict[str, Any]:
        return next(check for check in triage("doctor", "--json").json if check["name"] == "clock")

    assert clock()["ok"]
    monkeypatch.setattr(service_checks, "datetime", Fast)
    assert not clock()["ok"]
    assert "3:00:0" in clock()["detail"]


def test_doctor_rejects_a_role_with_all_privileges(
    triage: Triage, environment: Callable[[str, str], None], embedded: StateFolder, database: str
) -> None:
    def role() -> dict[str, Any]:
        return next(check for check in triage("doctor", "--json").json if check["name"] == "role")

    assert (role()["ok"], role()["detail"]) == (True, "triage_worker")
    for mighty in ("postgres", MIGRATOR):
        environment("DATABASE__URL", embedded.database_url(database, role=mighty))
        assert not role()["ok"]
        assert "triage db roles" in role()["remedy"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as several users")
def test_doctor_counts_files_that_the_service_cannot_use(
    triage: Triage, environment: Callable[[str, str], None], tmp_path: Path, jpeg: Callable[..., bytes]
) -> None:
    def files() -> dict[str, Any]:
        return next(check for check in triage("doctor", "--json").json if check["name"] == "files")

    store, photo = tmp_path / "blobs", tmp_path / "photo.jpg"
    photo.write_bytes(jpeg(1))
    store.mkdir(mode=0o700)
    os.chown(store, 65534, 65534)
    environment("BLOBS__URL", str(store))
    assert files()["ok"]

    assert triage("enqueue", photo, "--message-id", "m-1").code == DONE

    assert not files()["ok"]
    assert "2 below TRIAGE_BLOBS__URL" in files()["detail"]  # the store's marker, and the folder of the photo
    assert "TRIAGE_FILES__GROUP" in files()["remedy"]


def test_model_with_a_wrong_hash_is_refused(triage: Triage, model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_bytes((model_folder / "card.json").read_bytes())
    weights = bytearray((model_folder / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "weights.safetensors").write_bytes(weights)

    for command in (["models", "add", tmp_path], ["score", tmp_path / "card.json", "--model", tmp_path]):
        result = triage(*command)
        assert result.code == USAGE
        assert "SHA-256" in result.complaint()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["explain", "nowhere"], USAGE, "no message"),
        (["override", "nowhere", "--decision", "pass", "--by", "n-1", "--reason", "clear"], USAGE, "no message"),
        (["override", "m-1", "--decision", "perhaps", "--by", "n-1", "--reason", "x"], USAGE, "perhaps"),
        (["models", "promote", "nothing"], USAGE, "list the registered models"),
        (["models", "rollback"], USAGE, "no model was live before"),
        (["models", "add", "/nonexistent"], USAGE, "weights.safetensors and card.json"),
        (["rescore", "--model", "nope"], USAGE, "no model has the name"),
        (["rescore"], USAGE, "no model is live"),
        (["train", "--manifest", "/nonexistent.csv"], USAGE, "cannot be read"),
        (["retakes", "ack", NOWHERE, "--token", NOWHERE], FAILED, "do not send it"),
        (["retakes", "ack", NOWHERE, "--token", "x"], USAGE, "token"),
        (["report", "--since", "yesterday"], USAGE, "yesterday"),
        (["report", "--since", "2026-02-01", "--until", "2026-01-01"], USAGE, "since is not before until"),
        (["report", "--format", "pdf"], USAGE, "pdf"),
        (["report", "--colour"], USAGE, "--colour"),
        (["retakes", "list", "--limit", "0"], USAGE, "--limit"),
        (["override", "m-1", "--decision", "pass"], USAGE, "--by"),
        (["enqueue"], USAGE, "PATHS"),
        (["enqueue", "."], USAGE, "this is a folder"),
        (["enqueue", "n" * 5000], USAGE, "cannot be read"),
        (["enqueue", "/dev/zero"], USAGE, "cannot be read"),
        (["enqueue", __file__, "--message-id", ""], USAGE, "an argument is empty"),
        (["scoer"], USAGE, "scoer"),
        (["evaluate", "--model", "n" * 300, "--manifest", "/nonexistent.csv"], USAGE, "model name"),
        (["wait", "--message-id", "nowhere"], USAGE, "no message"),
        (["wait", "--timeout", "nan"], USAGE, "--timeout"),
        (["purge", "--days", "1e9"], USAGE, "--days"),
        (["purge", "--days", "nan", "--dry-run"], USAGE, "--days"),
        (["archive", "--days", "inf", "--dry-run"], USAGE, "--days"),
        (["retakes", "claim", "--lease-seconds", "1e300"], USAGE, "--lease-seconds"),
        (["retakes", "list", "--limit", f"{10**30}"], USAGE, "--limit"),
        (["health", "scoring", "--stall-seconds", "nan"], USAGE, "--stall-seconds"),
        (["health"], USAGE, "name a PART, or give --self"),
        (["health", "scoring", "--self"], USAGE, "name a PART, or give --self"),
        (["health", "scoring", "--ready"], USAGE, "--ready needs --self"),
        (["health", "--self"], USAGE, "TRIAGE_WORKER__HEARTBEAT_FILE"),
    ],
)
def test_wrong_use_gets_one_line(triage: Triage, arguments: list[str], code: int, says: str) -> None:
    result = triage(*arguments)

    assert (result.code, result.out) == (code, "")
    assert says in result.complaint()


@pytest.mark.parametrize("date", ["0001-01-01", "0001-01-10", "1970-01-01", "9999-12-31"])
def test_dates_at_the_ends_of_the_calendar_are_dates(triage: Triage, model_folder: Path, date: str) -> None:
    triage("models", "add", model_folder)
    triage("models", "promote", "strict")

    assert triage("report", "--since", date, "--format", "json").json["messages"]["total"] == 0
    assert triage("report", "--until", date, "--format", "json").json["messages"]["total"] == 0
    assert triage("rescore", "--since", date).code == DONE


def test_longest_time_is_a_time(
    triage: Triage, environment: Callable[[str, str], None], embedded: StateFolder, database: str
) -> None:
    assert triage("purge", "--days", "36500").code == DONE
    environment("DATABASE__URL", embedded.database_url(database, role=MIGRATOR))
    assert triage("archive", "--days", "36500", "--dry-run").code == DONE


def test_malformed_setting_is_named_and_its_value_is_not(
    triage: Triage, environment: Callable[[str, str], None]
) -> None:
    environment("INBOX__LEASE_SECONDS", "swordfish")

    result = triage("report")

    assert result.code == USAGE
    assert "TRIAGE_INBOX__LEASE_SECONDS" in result.complaint()
    assert "swordfish" not in result.err


@pytest.mark.parametrize(
    ("arguments", "variable", "code", "says"),
    [
        (["explain", "nowhere"], {}, USAGE, "no message has this id"),
        (["report", "--colour"], {}, USAGE, "--colour"),
        (["models", "add", "/nonexistent"], {}, USAGE, "weights.safetensors and card.json"),
        (
            ["report"],
            {"TRIAGE_DATABASE__URL": f"postgresql+psycopg://u:{PATIENT}@127.0.0.1:1/t"},
            UNREACHABLE,
            "Postgres",
        ),
        (["report"], {"TRIAGE_REDIS__SOCKET_TIMEOUT_SECONDS": PATIENT}, USAGE, "TRIAGE_REDIS__SOCKET_TIMEOUT_SECONDS"),
        (["health", "beat"], {"TRIAGE_REDIS__URL": "rediss://cache/0?ssl_cert_reqs=x"}, USAGE, "TRIAGE_REDIS__URL"),
    ],
)
def test_command_ends_in_one_line_and_its_exit_code_when_run_from_a_shell(
    environment: Callable[[str, str], None], arguments: list[str], variable: dict[str, str], code: int, says: str
) -> None:
    command = [str(Path(sys.executable).with_name("triage")), *arguments]

    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | variable)

    assert (ended.returncode, ended.stdout) == (code, "")
    [line] = ended.stderr.splitlines()
    assert line.startswith("triage: ")
    assert says in line
    assert PATIENT not in line


def test_doctor_names_a_remedy_once_when_postgres_is_down(
    triage: Triage, environment: Callable[[str, str], None]
) -> None:
    environment("DATABASE__URL", "postgresql+psycopg://postgres:secret@127.0.0.1:1/triage?connect_timeout=2")

    result = triage("doctor", "--json")

    assert result.code == UNREACHABLE
    checks = {check["name"]: check for check in result.json}
    assert [name for name, check in checks.items() if "TRIAGE_DATABASE__URL" in (check["remedy"] or "")] == ["postgres"]
    assert checks["tables"]["detail"] == "not checked: postgres is unavailable"


def test_training_is_refused_when_its_initial_weights_do_not_exist(
    triage: Triage, tmp_path: Path, sessions: Sessions
) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,votes,patient\nphoto.jpg,3,p1\n")
    (tmp_path / "photo.jpg").touch()

    result = triage("train", "--manifest", manifest, "--init", "imagenett")

    assert result.code == USAGE
    assert "imagenet, starter, random" in result.complaint()
    with sessions() as session:
        assert session.scalar(text("SELECT count(*) FROM run")) == 0


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+psycopg://u:{PATIENT}@host:port/db",
        f"postgresql+psycopg://u:{PATIENT}@host/db?no_such_option={PATIENT}",
    ],
)
def test_malformed_database_url_is_refused_without_its_text(
    triage: Triage, environment: Callable[[str, str], None], url: str
) -> None:
    environment("DATABASE__URL", url)

    for command in (["report"], ["db", "check"], ["archive", "--days", "1", "--dry-run"]):
        result = triage(*command)
        assert result.code == USAGE
        assert "TRIAGE_DATABASE__URL" in result.complaint()
        assert PATIENT not in result.err


def test_undecodable_bytes_are_refused_when_a_shell_passes_them(environment: Callable[[str, str], None]) -> None:
    command = [os.fsencode(Path(sys.executable).with_name("triage")), b"explain", b"\xff\xfe"]

    ended = subprocess.run(command, capture_output=True, check=False, env=os.environ)

    assert ended.returncode == USAGE
    assert ended.stderr.count(b"\n") == 1
    assert ended.stderr.startswith(b"triage: argument 2 is not valid UTF-8")


@pytest.mark.parametrize("file", ["card.json", "weights.safetensors"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_model_is_refused_when_a_file_of_it_is_a_pipe_or_a_device(
    environment: Callable[[str, str], None], model_folder: Path, tmp_path: Path, file: str, kind: str
) -> None:
    """Reading it would wait or fill the memory for ever."""
    model = tmp_path / "model"
    shutil.copytree(model_folder, model)
    (model / file).unlink()
    if kind == "pipe":
        os.mkfifo(model / file)
    else:
        (model / file).symlink_to("/dev/zero")
    command = [str(Path(sys.executable).with_name("triage")), "models", "add", str(model)]

    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)),
    )

    assert ended.returncode == USAGE
    assert "no model at" in ended.stderr
