"""The commands of docs/integration/http.md run as they are written. Only the address and paths are replaced."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.api import working
from worker.api.subjects import SUBJECTS

PAGE: Final = Path(__file__).parents[3] / "docs" / "integration" / "http.md"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing: install the package curl")
def test_commands_of_the_page_do_what_it_says(
    serve: Callable[..., Any], model_folder: Path, jpeg: Callable[..., bytes], tmp_path: Path
) -> None:
    [add, *calls] = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for number in (1, 2):
        (tmp_path / f"photo{number}.jpg").write_bytes(jpeg(number))
    with serve() as served:
        variables = served.environment | {
            "PATH": f"{Path(sys.executable).parent}:{served.environment['PATH']}",
            "NO_PROXY": "*",
        }

        def run(script: str) -> str:
            script = script.replace("127.0.0.1:8080", f"127.0.0.1:{served.port}").replace("wait=20", "wait=0.5")
            script = script.replace("curl ", "curl --silent --show-error --fail-with-body ")
            done = subprocess.run(
                ["bash", "-euc", script], env=variables, cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, (script, done.stdout, done.stderr)
            return done.stdout

        variables["KEY"] = run(add.replace("add ehr", "add hospital")).strip()
        send, send_json, read, check, collect, decide = calls
        assert [each["status"] for each in json.loads(run(send))["attachments"]] == ["pending"] * 2
        assert json.loads(run(send_json))["created"]
        assert json.loads(run(read))["outcome"] is None
        assert json.loads(run(collect)) == {"requests": []}
        run(decide.partition("\ncurl")[0].replace('"pass"', '"retake"'))  # so that there is a request to appeal
        answers = run(decide)
        assert '"actor":"hospital/dr-7"' in answers
        assert "day,source,total" in answers
        assert '"kind":"review"' in answers
        assert '"compared_to":{' in answers
        with working(served.services, model_folder):
            assert json.loads(run(check))["tip"]["locale"] == "es"


def test_table_of_scopes_equals_the_endpoints() -> None:
    rows = re.findall(r"^\| `([a-z.]+)` \| (.*/.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    shown = {(call, scope) for scope, calls in rows for call in re.findall(r"`([A-Z]+ [^`]+)`", calls)}
    declared = {
        (f"{endpoint.method} {endpoint.path}", endpoint.scope.value)
        for subject in SUBJECTS
        for endpoint in subject.declared
        if endpoint.scope is not None
    }
    assert shown == declared
