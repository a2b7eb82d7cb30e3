"""Programs of a sender that has Celery and nothing of this product."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_PRODUCT = {"triage", "worker", "migrations"}
_GUARD = """
import sys
class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, NotInstalled())
"""


def run_foreign(program: str, *, requirement: str, folder: Path) -> str:
    """Runs a Python program that can import the standard library and what a requirement installs; returns its output.

    Args:
        program: the source text.
        requirement: such as `celery[redis]`.
        folder: the working folder.
    """
    guard = _GUARD.format(hidden=_others(requirement))
    ended = subprocess.run(
        [sys.executable, "-c", guard + program], capture_output=True, text=True, check=False, cwd=folder, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def _others(requirement: str) -> set[str]:
    """The names of installed modules that a requirement does not install, and those of this product."""
    installed = {canonicalize_name(name) for name, _ in _closure(Requirement(requirement), set())}
    found: Mapping[str, list[str]] = packages_distributions()
    return _PRODUCT | {module for module, names in found.items() if not installed & set(map(canonicalize_name, names))}


def _closure(requirement: Requirement, seen: set[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for extra in ("", *requirement.extras):
        if (requirement.name, extra) in seen:
            continue
        seen.add((requirement.name, extra))
        yield requirement.name, extra
        for text in requires(requirement.name) or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                yield from _closure(needed, seen)
