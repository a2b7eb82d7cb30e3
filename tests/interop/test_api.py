"""The HTTP interface against foreign programs: a fuzzer, a generated client, an authorization server, curl."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.api import working
from tests.support.served import Served
from worker.api.openapi import openapi, text_of
from worker.api.subjects import SUBJECTS

pytestmark = pytest.mark.long

PROGRAMS = Path(sys.prefix) / "interop" / "bin"
FOLDER = Path(__file__).parent
AUDIENCE = "https://triage.example.org"


@pytest.fixture(scope="module")
def served(serve: Callable[..., Any]) -> Iterator[Served]:
    with serve() as served:
        yield served


def program(name: str) -> str:
    found = PROGRAMS / name
    if not found.exists():
        pytest.skip(f"{name} is missing: `make test-interop` installs it")
    return str(found)


def test_fuzzer_finds_no_defect_and_no_undocumented_answer(served: Served, model_folder: Path, tmp_path: Path) -> None:
    with working(served.services, model_folder):  # without a worker, no photo is assessed in time
        result = _fuzz(served, tmp_path)

    assert result.returncode == 0, result.stdout[-8000:]
    assert served.process.poll() is None
    assert "request.failed" not in served.log.read_text(encoding="utf-8")


def _fuzz(served: Served, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            *(program("st"), "run", f"http://127.0.0.1:{served.port}/openapi.json", "--no-color"),
            *("--header", f"Authorization: Bearer {served.key}", "--generation-deterministic", "--max-examples", "20"),
            *("--phases", "examples,coverage,fuzzing", "--workers", "2", "--continue-on-failure", "--warnings", "off"),
            *("--checks", "not_a_server_error,status_code_conformance,content_type_conformance"),
            *("--checks", "response_schema_conformance,response_headers_conformance"),
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=900,
        check=False,
    )


def test_generated_client_sends_waits_claims_and_acknowledges(served: Served, tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_text(text_of(openapi(SUBJECTS)), encoding="utf-8")
    generated = subprocess.run(
        [
            program("openapi-python-client"),
            "generate",
            "--path",
            "openapi.json",
            "--output-path",
            "client",
            "--meta",
            "none",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": str(PROGRAMS)},  # it calls ruff
        timeout=300,
        check=False,
    )
    assert generated.returncode == 0, generated.stdout + generated.stderr
    assert "Warning" not in generated.stdout + generated.stderr, generated.stdout + generated.stderr

    used = subprocess.run(
        [program("python"), FOLDER / "use_client.py", f"http://127.0.0.1:{served.port}", served.key],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "NO_PROXY": "*"},
        timeout=300,
        check=False,
    )

    assert used.returncode == 0, used.stdout + used.stderr
    assert used.stdout.split() == ["True", "False", "retake", "m-generated", "sent"]


def test_token_of_an_authorization_server_is_accepted(serve: Callable[..., Any], node: list[str]) -> None:
    script = [
        *node,
        str(FOLDER / "oidc_provider.mjs"),
        AUDIENCE,
        "retakes.read messages.write source:*",
        "a-secret-of-this-test",
    ]
    with subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as provider:
        assert provider.stdout is not None
        issuer = f"http://127.0.0.1:{int(provider.stdout.readline())}"
        try:
            configuration = httpx2.get(f"{issuer}/.well-known/openid-configuration", trust_env=False).json()
            answer = httpx2.post(
                configuration["token_endpoint"],
                data={"grant_type": "client_credentials", "scope": "retakes.read source:*"},
                auth=("portal", "a-secret-of-this-test"),
                trust_env=False,
            )
            token = answer.json()["access_token"]
            variables = {"API__ISSUER": issuer, "API__AUDIENCE": AUDIENCE, "API__JWKS_URL": configuration["jwks_uri"]}
            with serve(**variables) as served, served.client() as client:
                headers = {"Authorization": f"Bearer {token}"}
                assert client.get("/v1/retakes", headers=headers).status_code == 200
                assert client.get("/v1/report", headers=headers).status_code == 403
                assert client.get("/v1/retakes", headers={"Authorization": f"Bearer {token[:-4]}"}).status_code == 401
        finally:
            provider.terminate()


def test_curl_uploads_photos(served: Served, tmp_path: Path, jpeg: Callable[..., bytes]) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is missing: install the package curl")
    for number in (1, 2):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(number, 800, 800))
    message = tmp_path / "message.json"
    message.write_text('{"source": "ehr", "message_id": "m-curl", "thread": "t-1"}', encoding="utf-8")

    result = subprocess.run(
        [
            *(curl, "--silent", "--show-error", "--fail-with-body", "--noproxy", "*"),
            *("--header", f"Authorization: Bearer {served.key}", "--header", "Expect: 100-continue"),
            *("--form", f"message=<{message};type=application/json"),
            *("--form", f"photo=@{tmp_path / '1.jpg'}", "--form", f"photo=@{tmp_path / '2.jpg'}"),
            f"http://127.0.0.1:{served.port}/v1/messages",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert result.returncode == 0, result.stdout + result.stderr
    assert [each["status"] for each in json.loads(result.stdout)["attachments"]] == ["pending"] * 2
