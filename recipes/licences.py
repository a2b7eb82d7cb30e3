"""Writes THIRD-PARTY-NOTICES.md: every package of the images and every library in its wheel, with its licence.

.venv/bin/python -m recipes.licences

`requirements/licences.toml` has the licences that are allowed, and those that the packages' metadata do not name.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
NOTICES: Final = ROOT / "THIRD-PARTY-NOTICES.md"
PINS: Final = ("production.txt", "production-without-torch.txt")
_EXTENSION: Final = re.compile(r"\.(cpython-|abi3\.)")
_LIBRARY: Final = re.compile(r"^(lib[^/]*)\.(so|dylib|a)(\.|$)")
_HEAD: Final = """\
# Third-party notices

The images contain these packages and the libraries in their wheels. The licence texts are in the images, in
`/opt/triage/lib/python*/site-packages/*.dist-info`. `make notices` writes this page.
`requirements/licences.toml` has the reason for each licence that asks for more than a notice.

| package or library | in the wheel of | licence |
|---|---|---|
"""


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """A package, or a library that a package's wheel brings.

    Attributes:
        name: of the package, or the name by which `licences.toml` knows the library.
        wheel: the package that brings the library; empty for a package itself.
        licence: an SPDX expression.
    """

    name: str
    wheel: str
    licence: str


class UnknownLicenceError(Exception):
    """A package or library whose licence is not known or not allowed."""


def rules() -> dict[str, Any]:
    """The content of `requirements/licences.toml`."""
    return tomllib.loads((ROOT / "requirements" / "licences.toml").read_text(encoding="utf-8"))


def production_packages() -> list[str]:
    """Names of the packages of both images."""
    texts = ((ROOT / "requirements" / name).read_text(encoding="utf-8") for name in PINS)
    return sorted({name for text in texts for name in re.findall(r"^([a-z0-9._-]+)==", text, re.MULTILINE)})


def installed_parts(known: Mapping[str, Any]) -> Iterator[Part]:
    """The packages of the images that are installed here, and their libraries.

    Raises:
        UnknownLicenceError: nothing names the licence of a package or library.
    """
    for name in production_packages():
        try:
            package = distribution(name)
        except PackageNotFoundError:  # of another platform, or of the other image
            continue
        yield Part(name, "", licence_of(package, known))
        if not name.startswith("nvidia-"):  # all of it is under one licence
            files = sorted(file.name for file in package.files or [])
            yield from {Part(*library_of(file, known, name)) for file in files if _is_library(file)}


def licence_of(package: Distribution, known: Mapping[str, Any]) -> str:
    """The SPDX expression of a package."""
    name = package.metadata["Name"].lower().replace("_", "-")
    licence = package.metadata.json.get("license_expression") or known["packages"].get(name)
    if licence is None:
        raise UnknownLicenceError(f"{name}: read its licence and add it to [packages] of requirements/licences.toml")
    return str(licence)


def library_of(file: str, known: Mapping[str, Any], package: str) -> tuple[str, str, str]:
    """The name, the package and the licence of a library. Of several names that fit, the longest applies."""
    fitting = [name for name in known["libraries"] if file.startswith(name)]
    if not fitting:
        raise UnknownLicenceError(
            f"{file}, in the wheel of {package}: find its licence and add it to [libraries] of licences.toml"
        )
    name = max(fitting, key=len)
    return name.rstrip("."), package, known["libraries"][name]


def check(part: Part, known: Mapping[str, Any]) -> None:
    """Checks that a part may be shipped.

    Raises:
        UnknownLicenceError: its licence is neither allowed nor an exception.
    """
    exception = next((reason for name, reason in known["exceptions"].items() if fnmatch(part.name, name)), "")
    if exception.partition(":")[0] == part.licence:
        return
    choices = [choice.split(" AND ") for choice in part.licence.replace("(", "").replace(")", "").split(" OR ")]
    if not any(all(licence in known["allowed"] for licence in choice) for choice in choices):
        raise UnknownLicenceError(f"{part.name}: {part.licence} is not allowed by requirements/licences.toml")


def notices(parts: list[Part]) -> str:
    """The text of THIRD-PARTY-NOTICES.md."""
    return _HEAD + "".join(f"| {part.name} | {part.wheel} | {part.licence} |\n" for part in sorted(parts))


def main() -> None:
    """Checks all parts and writes the page."""
    known = rules()
    parts = list(installed_parts(known))
    for part in parts:
        check(part, known)
    NOTICES.write_text(notices(parts), encoding="utf-8")


def _is_library(file: str) -> bool:
    return bool(_LIBRARY.match(file)) and not _EXTENSION.search(file)


if __name__ == "__main__":
    main()
