import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from triage.dataset.manifest import read_manifest
from triage.errors import UsageError
from triage.evaluation.description import describe
from triage.evaluation.evaluate import comparison_json, evaluate
from triage.evaluation.predictions import Predictions
from worker.documents.decisions import DecisionsQuery
from worker.documents.document import Call
from worker.documents.evaluation import DatasetDocument, EvaluationDocument
from worker.documents.reports import ReportGroupDocument
from worker.documents.retakes import Claim, Withdrawal
from worker.documents.schemas import DOCUMENTS, schema_text
from worker.documents.submission import Submission

SCHEMAS = Path("docs/schemas")
PATIENT = "Erika-Mustermann"
MESSAGE: dict[str, Any] = {"source": "ehr", "message_id": "m-1", "attachments": [{"uri": "file:///in/1.jpg"}]}


def test_submission_without_optional_fields_has_their_defaults() -> None:
    message = Submission.parse(MESSAGE).to_message()

    assert (message.source, message.external_id, message.thread, message.role, message.locale) == (
        "ehr",
        "m-1",
        None,
        "patient",
        "und",
    )
    assert not message.opted_out
    assert [attachment.uri for attachment in message.attachments] == ["file:///in/1.jpg"]


def test_submission_keeps_every_field() -> None:
    attachment = {"uri": "s3://in/1.jpg", "attachment_id": "a-1", "group": "arm", "declared_type": "image/png"}
    fields = {"thread": "t-1", "role": "proxy", "locale": "de", "opted_out": True, "attachments": [attachment]}

    message = Submission.parse(MESSAGE | fields).to_message()

    assert (message.thread, message.role, message.locale, message.opted_out) == ("t-1", "proxy", "de", True)
    [found] = message.attachments
    assert (found.external_id, found.group, found.declared_type) == ("a-1", "arm", "image/png")


def test_submission_accepts_the_deprecated_names_of_an_attachment_but_not_both() -> None:
    deprecated = {"uri": "s3://in/1.jpg", "id": "a-1", "media_type": "image/png"}

    [found] = Submission.parse(MESSAGE | {"attachments": [deprecated]}).to_message().attachments

    assert (found.external_id, found.declared_type) == ("a-1", "image/png")
    for both in (deprecated | {"attachment_id": "a-2"}, deprecated | {"declared_type": None}):
        with pytest.raises(UsageError, match="which is its deprecated name"):
            Submission.parse(MESSAGE | {"attachments": [both]})


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"source": "ehr"}, "message_id"),
        (MESSAGE | {"attachments": []}, "attachments"),
        (MESSAGE | {"attachments": [{"url": PATIENT}]}, "attachments.0.uri"),
        (MESSAGE | {"message_id": 7}, "message_id"),
        (MESSAGE | {"opted_out": 1}, "opted_out"),
        (MESSAGE | {"attachments": [PATIENT]}, "attachments.0: Input should be a valid object"),
        (MESSAGE | {"patient_name": PATIENT}, "patient_name"),
        ([PATIENT], "message"),
        (None, "message"),
    ],
)
def test_malformed_submission_is_rejected_by_field_without_its_values(document: object, field: str) -> None:
    with pytest.raises(UsageError) as raised:
        Submission.parse(document)

    assert field in str(raised.value)
    assert PATIENT not in str(raised.value)


@pytest.mark.parametrize("id_", ["\x1b[2J", "\u202e", "Erika"])
def test_malformed_id_is_rejected_without_a_character_of_it(id_: str) -> None:
    with pytest.raises(UsageError) as raised:
        Withdrawal.parse({"by": "ehr", "id": id_})

    assert str(raised.value) == "invalid message: id: Input should be a valid UUID"


@pytest.mark.parametrize("call", [Claim, DecisionsQuery])
@pytest.mark.parametrize("limit", [True, "5", 0, 10**9])
def test_limit_of_a_call_is_a_number_within_bounds(call: type[Call], limit: object) -> None:
    with pytest.raises(UsageError, match="limit"):
        call.parse({"limit": limit} | ({"by": "ehr"} if call is Claim else {}))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_schema_of_a_document_equals_the_committed_file(name: str) -> None:
    """After an intended change of a document, run `make schemas`."""
    assert schema_text(DOCUMENTS[name]) == (SCHEMAS / f"{name}.json").read_text(encoding="utf-8")


def test_every_committed_schema_belongs_to_a_document_and_is_listed() -> None:
    readme = (SCHEMAS / "README.md").read_text(encoding="utf-8")

    assert {path.stem for path in SCHEMAS.glob("*.json")} - {"openapi"} == set(DOCUMENTS)
    assert [name for name in DOCUMENTS if f"[{name}]({name}.json)" not in readme] == []


def test_documents_import_nothing_heavy() -> None:
    heavy = ["torch", "torchvision", "scipy", "numpy", "celery", "redis", "rich", "sqlalchemy", "matplotlib"]
    code = f"import sys, worker.documents.schemas; print([name for name in {heavy} if name in sys.modules])"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # our own code

    assert result.stdout.strip() == "[]"


def test_evaluation_keeps_its_values_and_order() -> None:
    scores, votes = np.array([0.1, 0.3, 0.5, 0.9, 0.7, 0.2]), np.array([0, 1, 2, 3, 4, 2])
    rows = Predictions(scores, votes, columns={"site": ["a", "b", "a", "b", "a", "b"]})
    document = evaluate(rows, by=["site"])
    compared = document | {"comparison": comparison_json(rows, rows)}

    for each in (document, compared, evaluate(Predictions(scores[3:4], votes[3:4]), threshold=0.5)):
        assert json.dumps(EvaluationDocument.model_validate(each).json_types()) == json.dumps(each)


@pytest.mark.parametrize("columns", ["votes", "reviewer_a,reviewer_b,reviewer_c"])
def test_description_of_a_data_set_keeps_its_values_and_order(tmp_path: Path, columns: str) -> None:
    votes = "2" if columns == "votes" else "1,0,"
    lines = []
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(b"")
        lines.append(f"{number}.jpg,{votes}")
    (tmp_path / "manifest.csv").write_text("\n".join([f"path,{columns}", *lines]), encoding="utf-8")
    document = describe(read_manifest(tmp_path / "manifest.csv"))

    assert json.dumps(DatasetDocument.model_validate(document).json_types()) == json.dumps(document)


def test_report_group_has_its_dimensions_first() -> None:
    counts: dict[str, object] = {
        "total": 1,
        "pass": 1,
        "retake": 0,
        "uncertain": 0,
        "not_assessable": 0,
        "pending": 0,
        "retake_rate": 0.0,
    }
    counts["interval"] = [0.0, 0.79]
    group = {"source": "ehr", "day": "2026-01-01", "model": None} | counts

    assert json.dumps(ReportGroupDocument.model_validate(group).json_types()) == json.dumps(group)
