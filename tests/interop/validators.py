"""Validators of FHIR resources that others wrote. Each finds what the other misses."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

import worker.fhir
from tests.interop.sekmet import FOREIGN

Resources = Sequence[dict[str, Any]]

DEFINITIONS: Final = [
    json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(worker.fhir.__file__).parent / "endpoint" / "definitions").glob("*.json"))
]
"""The definitions that are shipped."""

_FHIRKIT: Final = (
    "import fhirkit, json, sys; print(json.dumps([str(p) for r in json.load(sys.stdin) for p in fhirkit.validate(r)]))"
)


def structure_problems(resources: Resources) -> list[str]:
    """What fhirkit-rs finds wrong: elements, types and cardinalities, by the definitions of FHIR R4."""
    python = FOREIGN / "python"
    if not python.exists():
        pytest.skip("foreign programs are missing: `make test-interop` installs them")
    problems: list[str] = _run([str(python), "-c", _FHIRKIT], resources)
    return problems


def profile_problems(node: list[str], resources: Resources) -> list[list[str]]:
    """What @medplum/core finds wrong by R4 and this product's profiles, and `fhir` by R4 with its required codes.

    Args:
        node: the command that runs a script.
        resources: to validate.

    Returns:
        The problems of each resource.
    """
    profiles = [each for each in DEFINITIONS if each["resourceType"] == "StructureDefinition"]
    script = [*node, str(Path(__file__).with_name("validate.mjs"))]
    found: list[list[str]] = _run(script, {"resources": resources, "profiles": profiles})
    return found


def _run(command: list[str], given: object) -> Any:
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)
