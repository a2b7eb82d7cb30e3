"""The commands of the section on pushing in docs/integration/fhir.md run as they are written, but for the address."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import text

PAGE: Final = Path(__file__).parents[3] / "docs" / "integration" / "fhir.md"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing: install the package curl")
def test_commands_of_the_page_push_messages(
    serve: Callable[..., Any], jpeg: Callable[..., bytes], tmp_path: Path
) -> None:
    section = PAGE.read_text(encoding="utf-8").partition("\n## Push\n")[2]
    [add, *calls] = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    for number in (1, 2):
        (tmp_path / f"photo{number}.jpg").write_bytes(jpeg(number))
    with serve() as served:
        variables = served.environment | {
            "PATH": f"{Path(sys.executable).parent}:{served.environment['PATH']}",
            "NO_PROXY": "*",
        }

        def run(script: str) -> str:
            script = script.replace("127.0.0.1:8080", f"127.0.0.1:{served.port}")
            script = script.replace("curl ", "curl --silent --show-error --fail-with-body ")
            done = subprocess.run(
                ["bash", "-euc", script], env=variables, cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, (script, done.stdout, done.stderr)
            return done.stdout

        variables["KEY"] = run(add).strip()
        create, transaction, withdraw = calls
        assert [run(create).split()[1] for _ in range(2)] == ["201", "200"]
        entries = json.loads(run(transaction))["entry"]
        assert [each["response"]["status"] for each in entries] == ["200 OK", "201 Created"]
        assert run(withdraw) == ""
        with served.services.sessions() as session:
            rows = session.execute(text("SELECT role, locale, opted_out FROM message ORDER BY received_at"))
            assert [tuple(row) for row in rows] == [("patient", "es", False), ("related-person", "en", True)]
