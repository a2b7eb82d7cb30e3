"""The wheel that is installed on machines without the repository."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_wheel_holds_every_file_of_the_product(tmp_path: Path) -> None:
    """Built without a package index, as on the page."""
    command = [
        f"{sys.prefix}/bin/uv",
        "build",
        "--quiet",
        "--wheel",
        "--no-build-isolation",
        "--offline",
        "--out-dir",
        str(tmp_path),
    ]
    subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"VIRTUAL_ENV": sys.prefix})
    [wheel] = tmp_path.glob("*.whl")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "triage", "worker", "migrations"]
    files = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()

    expected = {re.sub(r"^migrations/", "triage/migrations/", file) for file in files if (ROOT / file).exists()}
    assert expected - set(zipfile.ZipFile(wheel).namelist()) == set()
    for kind in (".safetensors", ".j2", ".json", ".py"):
        assert any(file.endswith(kind) for file in expected), kind
