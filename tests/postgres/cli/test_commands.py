"""The commands that others script against: names, options and JSON."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.support.cards import EVALUATED
from tests.support.command_line import Result
from tests.support.narrow_model import draw_narrow_network, write_narrow_model
from triage.domain.ids import new_id
from worker.cli import _COMMANDS, cli
from worker.settings import load_settings
from worker.tasks.base import WorkerServices

Triage: TypeAlias = Callable[..., Result]

KEYS = {
    "enqueue": "message_id id attachments[] created unchanged[] opted_out",
    "explain": """
        message_id id source thread role locale opted_out fitzpatrick received_at forgotten_at outcome reason
        decided_by attachments[] decisions[] retake_requests[] audit[]
    """,
    "retakes": "id message_id source thread locale status may_have_been_sent created_at model photos[] reply",
    "report": """
        since until messages trend outcomes photos reasons reasons_by_source[] errors times hours[] people retention
        retake_requests retake_outcomes needless overrides scores[] shadows[] backlog oldest_pending_seconds archived
        drift by[] groups[]
    """,
}


@pytest.fixture
def scored(triage: Triage, model_folder: Path, tmp_path: Path, jpeg: Callable[..., bytes]) -> str:
    """A message with one photo that failed, scored in this process; its id."""
    (tmp_path / "photo.jpg").write_bytes(jpeg(1))
    assert triage("models", "add", model_folder).code == 0
    assert triage("models", "promote", "strict").code == 0
    assert triage("enqueue", tmp_path / "photo.jpg", "--message-id", "m-1", "--source", "ehr").code == 0
    with WorkerServices(load_settings()) as services:
        services.scoring.drain()
    waited = triage("wait", "--message-id", "m-1", "--timeout", "5")
    assert (waited.code, waited.out) == (0, "no photo is pending; outcome: retake\n")
    return "m-1"


def test_every_command_explains_itself() -> None:
    for name in _COMMANDS:
        command = cli.get_command(None, name)  # type: ignore[arg-type]  # the context is not used
        assert command is not None
        assert command.help


def test_enqueue_changes_nothing_when_the_ids_are_known(
    triage: Triage, tmp_path: Path, jpeg: Callable[..., bytes]
) -> None:
    (tmp_path / "photo.jpg").write_bytes(jpeg(1))
    command = ("enqueue", tmp_path / "photo.jpg", "--message-id", "m-1", "--json")

    first, again = triage(*command).json, triage(*command).json

    assert {"message_id", "attachments", "created"} <= set(first)
    assert (first["created"], again["created"]) == (True, False)
    assert first["attachments"] == again["attachments"]


def test_explain_tells_the_whole_history(triage: Triage, scored: str) -> None:
    override = ["override", scored, "--decision", "pass", "--by", "nurse-7", "--reason", "sharp enough"]
    assert triage(*override).code == 0

    assert "message.overridden nurse-7" in " ".join(triage("explain", scored).out.split())
    story = triage("explain", scored, "--json").json

    assert (story["outcome"], story["decided_by"]) == ("pass", "person")
    [attachment] = story["attachments"]
    [verdict] = attachment["verdicts"]
    assert verdict["model"] == "strict"
    assert not verdict["acceptable"]
    assert [decision["outcome"] for decision in story["decisions"]] == ["retake", "pass"]
    assert story["decisions"][1]["note"] == "sharp enough"
    assert [request["status"] for request in story["retake_requests"]] == ["withdrawn"]
    assert "message.overridden" in [event["action"] for event in story["audit"]]
    assert "nurse-7" in triage("explain", scored).out


def test_retake_request_is_claimed_and_acknowledged_once(triage: Triage, scored: str) -> None:
    [listed] = triage("retakes", "list", "--json").json
    [claimed] = triage("retakes", "claim", "--by", "ehr", "--json").json

    assert (listed["message_id"], listed["status"]) == (scored, "flagged")
    assert claimed["id"] == listed["id"]
    assert triage("retakes", "claim", "--by", "ehr", "--json").json == []
    assert triage("retakes", "ack", claimed["id"], "--token", listed["id"]).code == 1  # not the token
    assert triage("retakes", "ack", claimed["id"], "--token", claimed["token"]).code == 0
    assert triage("retakes", "ack", claimed["id"], "--token", claimed["token"]).code == 0  # a repeated ack is harmless
    [sent] = triage("retakes", "list", "--json").json
    assert (sent["id"], sent["status"]) == (listed["id"], "sent")


def test_claimed_requests_are_acknowledged_together(
    triage: Triage, scored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = triage("retakes", "claim", "--by", "ehr", "--source", "ehr", "--json").json
    [held] = claimed
    unknown = {"id": held["id"], "token": held["id"]}
    (tmp_path / "claimed.json").write_text(json.dumps(claimed, indent=2), encoding="utf-8")
    lines = "".join(f"{json.dumps(each)}\n" for each in (held, unknown))

    acked = triage("retakes", "ack", "--file", tmp_path / "claimed.json", "--json")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    again = triage("retakes", "ack", "--file", "-", "--json")

    assert (acked.code, acked.json) == (0, {"requests": [{"id": held["id"], "status": "sent"}]})
    assert (again.code, [each["status"] for each in again.json["requests"]]) == (1, ["sent", "lease_lost"])
    assert "1 request of 2 not acknowledged" in again.complaint()
    assert "sent" in triage("retakes", "ack", "--file", tmp_path / "claimed.json").out
    (tmp_path / "claimed.json").write_text("[]", encoding="utf-8")
    assert triage("retakes", "ack", "--file", tmp_path / "claimed.json", "--json").json == {"requests": []}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "no requests"),
        ("{}", "id: Field required"),
        ("[" * 3000, "invalid requests"),
        ('{"id": "Erika", "token": "Mustermann"}', "id: Input should be a valid UUID"),
        (None, "cannot be read"),
    ],
)
def test_file_of_acknowledgements_is_refused_in_one_line_when_it_is_malformed(
    triage: Triage, tmp_path: Path, content: str | None, problem: str
) -> None:
    if content is not None:
        (tmp_path / "claimed.json").write_text(content, encoding="utf-8")

    refused = triage("retakes", "ack", "--file", tmp_path / "claimed.json")

    assert refused.code == 2
    assert problem in refused.complaint()
    assert "Erika" not in refused.err


@pytest.mark.parametrize(
    "arguments", [(), (str(new_id()),), ("--token", str(new_id())), (str(new_id()), "--file", "-")]
)
def test_acknowledgement_needs_an_id_with_a_token_or_a_file(triage: Triage, arguments: tuple[str, ...]) -> None:
    refused = triage("retakes", "ack", *arguments)

    assert refused.code == 2
    assert "give REQUEST_ID and --token, or --file" in refused.err


def test_thread_is_opted_out_and_its_decisions_are_read(triage: Triage, scored: str) -> None:
    thread = ("--source", "ehr", "--thread", scored, "--by", "ehr")
    first = triage("decisions", "--limit", "1", "--json").json
    opted_out = triage("opt-out", *thread, "--json").json
    rest = triage("decisions", "--after", first["cursor"], "--json").json

    assert [(d["message_id"], d["outcome"], d["current"]) for d in first["decisions"]] == [(scored, "retake", True)]
    assert (opted_out["opted_out"], opted_out["changed"]) == (True, True)
    assert opted_out["requests_withdrawn"] == [first["decisions"][0]["request_id"]]
    assert [(d["outcome"], d["reason"]) for d in rest["decisions"]] == [("uncertain", "opted_out")]
    assert triage("opt-out", *thread).out == f"thread {scored} of ehr: already opted out\n"
    assert "retake requests are allowed" in triage("opt-out", *thread, "--undo").out
    assert "opted_out" in triage("decisions").out
    assert triage("decisions", "--after", "99").code == 2


def test_enqueue_says_that_the_thread_has_opted_out(triage: Triage, tmp_path: Path, jpeg: Callable[..., bytes]) -> None:
    (tmp_path / "photo.jpg").write_bytes(jpeg(1))
    assert triage("opt-out", "--source", "ehr", "--thread", "t-1", "--by", "ehr").code == 0

    accepted = triage("enqueue", tmp_path / "photo.jpg", "--message-id", "m-1", "--source", "ehr", "--thread", "t-1")

    assert accepted.out == "message m-1: 1 photo, accepted, opted out of retake requests\n"


def test_report_has_equal_figures_in_every_format(triage: Triage, scored: str, tmp_path: Path) -> None:
    document = triage("report", "--format", "json").json
    rows = list(csv.DictReader(io.StringIO(triage("report", "--by", "source", "--format", "csv").out)))
    table = triage("report", "--by", "source").out
    page = tmp_path / "report.html"

    assert document["messages"]["total"] == document["messages"]["retake"] == 1
    assert document["messages"]["retake_rate"] == 1
    assert rows[0]["source"] == "ehr"
    assert float(rows[0]["retake_rate"]) == 1
    assert "ehr" in table
    assert "100.0 %" in table
    written = triage("report", "--format", "html", "-o", page)
    assert (written.code, f"report: {page} (html, messages received" in written.out) == (0, True)
    assert "100.0 %" in page.read_text(encoding="utf-8")


def test_json_has_exactly_the_documented_keys(triage: Triage, scored: str, tmp_path: Path) -> None:
    documents = {
        "enqueue": triage("enqueue", tmp_path / "photo.jpg", "--json").json,
        "explain": triage("explain", scored, "--json").json,
        "retakes": triage("retakes", "list", "--json").json[0],
        "report": triage("report", "--by", "day", "--by", "model", "--format", "json").json,
    }

    found = {
        name: [f"{key}[]" if isinstance(value, list) else key for key, value in document.items()]
        for name, document in documents.items()
    }
    assert found == {name: keys.split() for name, keys in KEYS.items()}


def test_json_is_one_document_and_logs_go_to_stderr(
    triage: Triage, environment: Callable[[str, str], None], tmp_path: Path, jpeg: Callable[..., bytes]
) -> None:
    environment("REDIS__URL", "redis://127.0.0.1:1/0")
    environment("REDIS__SOCKET_TIMEOUT_SECONDS", "1")
    (tmp_path / "photo.jpg").write_bytes(jpeg(1))

    result = triage("enqueue", tmp_path / "photo.jpg", "--json")

    assert json.loads(result.out)["created"]
    assert "redis.unavailable" in result.err


def test_untrained_model_goes_live_only_by_an_explicit_flag(triage: Triage, model_folder: Path, tmp_path: Path) -> None:
    card = json.loads((model_folder / "card.json").read_text(encoding="utf-8"))
    (tmp_path / "card.json").write_text(json.dumps(card | {"name": "random", "trained": False}), encoding="utf-8")
    (tmp_path / "weights.safetensors").write_bytes((model_folder / "weights.safetensors").read_bytes())
    assert triage("models", "add", tmp_path).code == 0

    refused = triage("models", "promote", "random")
    allowed = triage("models", "promote", "random", "--allow-untrained", "--json")

    assert refused.code == 2
    assert "never trained" in refused.complaint()
    assert (allowed.json["model"], allowed.json["stage"]) == ("untrained", "live")


def test_rollback_returns_to_the_model_before(triage: Triage, model_folder: Path, tmp_path: Path) -> None:
    write_narrow_model(tmp_path / "second", draw_narrow_network(seed=2), name="second", metrics=EVALUATED)
    for folder, name in ((model_folder, "strict"), (tmp_path / "second", "second")):
        assert triage("models", "add", folder).code == 0
        assert triage("models", "promote", name).code == 0

    assert triage("models", "rollback", "--json").json["name"] == "strict"
    stages = {model["name"]: model["stage"] for model in triage("models", "list", "--json").json}
    assert stages == {"strict": "live", "second": "retired"}


def test_clients_are_added_listed_rotated_and_revoked(triage: Triage, tmp_path: Path) -> None:
    key = triage("clients", "add", "ehr", "--scope", "messages.read", "--scope", "retakes.read").out
    assert key.startswith("triage_")
    assert len(key.splitlines()) == 1
    rotated = json.loads(triage("clients", "rotate", "ehr", "--overlap-hours", "1", "--json").out)
    assert (rotated["scopes"], rotated["credential"]) == (["messages.read", "retakes.read"], "key")
    assert rotated["key"] != key.strip()
    keys = tmp_path / "keys.json"
    keys.write_text('{"keys": [{"kty": "EC", "kid": "k1", "crv": "P-384", "x": "AQAB", "y": "AQAB"}]}')
    assert triage("clients", "add", "backend", "--scope", "retakes.write", "--jwks", str(keys)).code == 0
    assert "revoked" in triage("clients", "revoke", "ehr").out

    listed = json.loads(triage("clients", "list", "--json").out)

    assert [(each["name"], each["credential"], each["revoked_at"] is None) for each in listed] == [
        ("backend", "public_keys", True),
        ("ehr", "key", False),
    ]
    assert key.strip() not in triage("clients", "list").out
    refused = triage("clients", "add", "other", "--scope", "retakes.write", "--jwks", str(tmp_path / "none"))
    assert (refused.code, refused.err.count("\n")) == (2, 1)
