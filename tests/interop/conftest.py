"""Node and its packages, installed once from `package-lock.json`. Without Node, the tests that need it are skipped."""

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
_INSTALLED = FOLDER / "node_modules" / ".package-lock.json"


@pytest.fixture(scope="session")
def node() -> list[str]:
    """The command that runs a script of this folder."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if not found or not npm:
        pytest.skip("Node is missing: install Node 20 or newer with npm")
    with (FOLDER / ".lock").open("w") as lock:  # one of the processes of the test run installs
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_installed():
            result = subprocess.run([npm, "ci"], cwd=FOLDER, capture_output=True, text=True, timeout=300)
            if result.returncode:
                pytest.skip(f"npm cannot install the packages: {result.stderr.strip().splitlines()[:1]}")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    return [found, *(["--experimental-websocket"] if version.startswith("v20.") else [])]  # Medplum's packages need it


def _is_installed() -> bool:
    return _INSTALLED.exists() and _INSTALLED.stat().st_mtime >= (FOLDER / "package-lock.json").stat().st_mtime
