"""Validators of FHIR resources that others wrote. Each finds what the other misses."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.interop.sekmet import FOREIGN

Resources = Sequence[dict[str, Any]]

_FHIRKIT = (
    "import fhirkit, json, sys; print(json.dumps([str(p) for r in json.load(sys.stdin) for p in fhirkit.validate(r)]))"
)


def structure_problems(resources: Resources) -> list[str]:
    """What fhirkit-rs finds wrong: elements, types and cardinalities, by the definitions of FHIR R4."""
    python = FOREIGN / "python"
    if not python.exists():
        pytest.skip("foreign programs are missing: `make test-interop` installs them")
    return _problems([str(python), "-c", _FHIRKIT], resources)


def code_problems(node: list[str], resources: Resources) -> list[str]:
    """What the package `fhir` of npm finds wrong: also codes outside of required value sets.

    Args:
        node: the command that runs a script.
        resources: to validate.
    """
    return _problems([*node, str(Path(__file__).with_name("validate_fhir.mjs"))], resources)


def _problems(command: list[str], resources: Resources) -> list[str]:
    done = subprocess.run(
        command, input=json.dumps(resources), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    problems: list[str] = json.loads(done.stdout)
    return problems
