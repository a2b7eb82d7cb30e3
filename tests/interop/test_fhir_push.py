"""FHIR clients that others wrote push messages, with keys and by SMART Backend Services."""

import base64
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from joserfc.jwk import ECKey
from sqlalchemy import text

from tests.interop.sekmet import FOREIGN
from tests.interop.validators import profile_problems, structure_problems
from tests.support.served import Served
from triage.clients import registration
from triage.domain.scopes import Scope
from triage.files.hashing import sha256_of
from worker.codes import Code
from worker.fhir.endpoint.outcomes import outcome_of_failure
from worker.fhir.terms import PATIENT_MESSAGE_PROFILE

pytestmark = pytest.mark.long

FOLDER = Path(__file__).parent


@pytest.fixture(scope="module")
def served(serve: Callable[..., Any]) -> Iterator[Served]:
    with serve() as served:
        yield served


def _base(served: Served) -> str:
    return f"http://127.0.0.1:{served.port}/fhir"


def _run(command: list[Any]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env={"NO_PROXY": "*"}, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _stored(served: Served, photo: bytes) -> list[str]:
    """The messages that have this photo."""
    query = "SELECT m.external_id FROM message m JOIN attachment ON message_id = m.id WHERE sha256 = :sha256"
    with served.services.sessions() as session:
        return list(session.scalars(text(query), {"sha256": sha256_of(photo)}))


def test_clients_of_node_push_messages(served: Served, node: list[str], jpeg: Callable[..., bytes]) -> None:
    photo = jpeg(1)
    encoded = base64.b64encode(photo).decode()

    script = [*node, "--experimental-websocket", FOLDER / "push_fhir.mjs", _base(served), served.key, encoded]
    understood = json.loads(_run(script))

    assert understood["kit"] == {
        "token": f"http://127.0.0.1:{served.port}/auth/token",
        "fhirVersion": "4.0.1",
        "isSame": True,
        "statuses": ["200 OK", "201 Created"],
        "unknown": [404, "OperationOutcome"],
    }
    assert understood["medplum"] == {
        "isSame": True,
        "statuses": ["200 OK", "200 OK"],
        "refused": ["OperationOutcome", "invalid"],
    }
    assert len(_stored(served, photo)) == 3


def test_clients_of_python_push_and_read_messages(served: Served, jpeg: Callable[..., bytes], tmp_path: Path) -> None:
    if not (FOREIGN / "python").exists():
        pytest.skip("foreign programs are missing: `make test-interop` installs them")
    photo = jpeg(2)
    key = ECKey.generate_key("P-384", {"kid": "k1", "alg": "ES384", "key_ops": ["sign"]})
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [key.as_dict(private=True)]}), encoding="utf-8")
    public = {"keys": [{**key.as_dict(private=False), "key_ops": ["verify"]}]}
    registration.add(served.services.sessions, "cumulus", [Scope.FHIR_READ], by="op-1", jwks=public)
    encoded = base64.b64encode(photo).decode()

    command = [FOREIGN / "python", FOLDER / "push_fhir.py", _base(served), served.key, "cumulus"]
    understood = _run([*command, tmp_path / "keys.json", encoded])

    assert understood.split() == ["4.0.1", "True", "1", "True", "SUBSETTED"]
    assert len(_stored(served, photo)) == 1


def test_scenario_of_another_server_pushes_a_message(
    served: Served, jpeg: Callable[..., bytes], tmp_path: Path
) -> None:
    if not (FOREIGN / "sekmet").exists():
        pytest.skip("foreign programs are missing: `make test-interop` installs them")
    key = ECKey.generate_key("P-384")
    (tmp_path / "key.pem").write_bytes(key.as_pem(private=True))
    public = {"keys": [{**key.as_dict(private=False), "kid": key.thumbprint(), "alg": "ES384"}]}
    scopes = [Scope.FHIR_CREATE, Scope.FHIR_UPDATE, Scope.FHIR_READ]
    registration.add(served.services.sessions, "engine", scopes, by="op-1", jwks=public)
    auth = {"type": "smart", "client_id": "engine", "private_key_path": str(tmp_path / "key.pem"), "alg": "ES384"}
    peer = {"base_url": _base(served), "auth": auth | {"scope": "system/Communication.cru"}}
    settings = {"data_dir": str(tmp_path / "data"), "peers": {"triage": peer}}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    photo = jpeg(4)

    command = [FOREIGN / "sekmet", "scenario", "run", FOLDER / "push_scenario.yaml", "--peer", "triage", "--no-serve"]
    files = ["--report-dir", tmp_path / "reports", "--config", tmp_path / "settings.yaml"]
    _run([*command, *files, "--var", f"photo={base64.b64encode(photo).decode()}"])

    assert len(_stored(served, photo)) == 1


def test_answers_are_valid_resources(served: Served, node: list[str], jpeg: Callable[..., bytes]) -> None:
    data = base64.b64encode(jpeg(3)).decode()
    message = {
        "resourceType": "Communication",
        "id": "valid-1",
        "meta": {"profile": [PATIENT_MESSAGE_PROFILE]},
        "status": "completed",
        "partOf": [{"reference": "Communication/topic"}],
        "subject": {"reference": "Patient/7"},
        "sender": {"reference": "Patient/7"},
        "payload": [{"contentAttachment": {"contentType": "image/jpeg", "data": data}}],
    }
    put = {"method": "PUT", "url": "Communication/valid-1"}
    binary = {"resource": {"resourceType": "Binary"}, "request": {"method": "POST", "url": "Binary"}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [binary, {"resource": message, "request": put}]}
    with served.client(params={"_format": "json"}) as client:
        resources = [
            client.get("/fhir/metadata").json(),
            client.put("/fhir/Communication/valid-1", json=message).json(),
            client.post("/fhir", json=bundle, headers={"Prefer": "return=representation"}).json(),
            client.post("/fhir", json=bundle, headers={"Prefer": "return=OperationOutcome"}).json(),
            client.get("/fhir/Communication/unknown").json(),
        ]
    resources += [outcome_of_failure(code, "what to do") for code in Code]

    assert structure_problems(resources) == []
    assert [problems for problems in profile_problems(node, [message, *resources]) if problems] == []
