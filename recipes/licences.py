"""Writes THIRD-PARTY-NOTICES.md: the packages of the images and the libraries in their wheels, with their licences.

.venv/bin/python -m recipes.licences

`requirements/licences.toml` has the licences that are allowed, and what the wheels do not say of themselves.
"""

import json
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
TEXTS: Final = ROOT / "deploy" / "image" / "licenses"
DEBIAN_TEXTS: Final = Path("/usr/share/common-licenses")
PINS: Final = ("production.txt", "production-without-torch.txt", "extras/*.txt")
OWN: Final = "wheel"
_TEXT: Final = re.compile(r"licen[cs]e|copying|notice|eula", re.IGNORECASE)
_EXTENSION: Final = re.compile(r"\.(cpython-|abi3\.)")
_LIBRARY: Final = re.compile(r"^(lib[^/]*)\.(so|dylib|a)(\.|$)")
_HEAD: Final = """\
# Third-party notices

The images contain these packages and the libraries in their wheels: those of extras only with `EXTRAS` of the
Dockerfile, and not those of `WITHOUT`. The text of each licence is in the image:

- *wheel*: in `/opt/triage/lib/python*/site-packages/NAME-*.dist-info` of the package, of the wheel that brings the
  library, or of the wheel that is named.
- A file: in `/usr/share/doc/skin-photo-triage/licenses`, or in the folder that is named. Most of these files are
  Debian's records of the copyright of that library.
- Only `nvidia-cusparselt-cu13` has none, and NVIDIA's page is named.

A library with a version (`syn 2.0.117`) is a crate of Rust, from the SBOM in the wheel, which also lists crates that
only building needs. The wheels have no texts of crates: the files named here are the standard ones, without the lines
of copyright of each crate.

`make notices` writes this page. `requirements/licences.toml` has the reason for each licence that asks for more than a
notice.

| package or library | in the wheel of | licence | text |
|---|---|---|---|
"""


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """A package, or a library that a package's wheel brings.

    Attributes:
        name: of the package, or the name by which `licences.toml` knows the library.
        wheel: the package that brings the library; empty for a package itself.
        licence: an SPDX expression.
        text: where the text of the licence is, as THIRD-PARTY-NOTICES.md explains; several are separated by commas.
    """

    name: str
    wheel: str
    licence: str
    text: str = OWN


class UnknownLicenceError(Exception):
    """A package or library whose licence is not known or not allowed, or whose text is missing."""


def rules() -> dict[str, Any]:
    """The content of `requirements/licences.toml`."""
    return tomllib.loads((ROOT / "requirements" / "licences.toml").read_text(encoding="utf-8"))


def production_packages(known: Mapping[str, Any]) -> list[str]:
    """Names of the packages of both images and of the extras, without those that are deleted."""
    files = [file for pattern in PINS for file in (ROOT / "requirements").glob(pattern)]
    texts = (file.read_text(encoding="utf-8") for file in files)
    names = {name for text in texts for name in re.findall(r"^([a-z0-9._-]+)==", text, re.MULTILINE)}
    return sorted(names - set(known["pruned"]))


def installed_parts(known: Mapping[str, Any]) -> Iterator[Part]:
    """The packages of the images that are installed here, and their libraries.

    Raises:
        UnknownLicenceError: nothing names the licence of a package or library, or where its text is.
    """
    for name in production_packages(known):
        try:
            package = distribution(name)
        except PackageNotFoundError:  # of another platform, or of the other image
            if licence := known["elsewhere"].get(name):
                yield Part(name, "", licence, known["texts"][name])
            continue
        yield Part(name, "", licence_of(package, known), known["texts"].get(name, OWN))
        if not name.startswith("nvidia-"):  # all of it is under one licence
            files = sorted(file.name for file in package.files or [])
            found = {library_of(file, known, name) for file in files if _is_library(file)}
            for library, licence in sorted(found | static_libraries(package, known)):
                yield Part(library, name, licence, text_of(library, known, name))
            yield from crates(package, known)


def licence_of(package: Distribution, known: Mapping[str, Any]) -> str:
    """The SPDX expression of a package."""
    name = _name_of(package)
    licence = package.metadata.json.get("license_expression") or known["packages"].get(name)
    if licence is None:
        raise UnknownLicenceError(f"{name}: read its licence and add it to [packages] of requirements/licences.toml")
    return str(licence)


def library_of(file: str, known: Mapping[str, Any], package: str) -> tuple[str, str]:
    """The name and the licence of a library. Of several names that fit, the longest applies."""
    fitting = [name for name in known["libraries"] if file.startswith(name)]
    if not fitting:
        raise UnknownLicenceError(
            f"{file}, in the wheel of {package}: find its licence and add it to [libraries] of licences.toml"
        )
    name = max(fitting, key=len)
    return name.rstrip("."), known["libraries"][name]


def static_libraries(package: Distribution, known: Mapping[str, Any]) -> set[tuple[str, str]]:
    """The names and licences of the libraries that are linked into a package's extension modules.

    Raises:
        UnknownLicenceError: they were read in another version of the package.
    """
    read = known["static"].get(_name_of(package), {"version": package.version, "libraries": {}})
    if read["version"] != package.version:
        raise UnknownLicenceError(
            f"{package.name}: its linked libraries were read in {read['version']}: read them in {package.version}, "
            "and correct [static] of licences.toml"
        )
    return set(read["libraries"].items())


def crates(package: Distribution, known: Mapping[str, Any]) -> Iterator[Part]:
    """The crates of Rust that a package's SBOM lists (CycloneDX)."""
    for file in package.files or []:
        if file.parent.name != "sboms":
            continue
        for crate in json.loads(file.read_text(encoding="utf-8")).get("components", []):
            if crate.get("purl", "").startswith("pkg:cargo/"):
                [licence] = (entry.get("expression") or entry["license"]["id"] for entry in crate["licenses"])
                texts = ({known["crate_texts"].get(one) for one in choice} for choice in choices(licence))
                text = min((", ".join(sorted(choice)) for choice in texts if None not in choice), default="none")
                yield Part(f"{crate['name']} {crate['version']}", _name_of(package), licence, text)


def text_of(library: str, known: Mapping[str, Any], package: str) -> str:
    """Where the text of a library's licence is."""
    text = known["texts"].get(library, OWN if package in known["complete"] else "")
    if not text:
        raise UnknownLicenceError(
            f"{library}, in the wheel of {package}: find the text of its licence and add it to [texts] of licences.toml"
        )
    return str(text)


def choices(expression: str) -> list[frozenset[str]]:
    """The sets of licences each of which satisfies an SPDX expression. AND binds closer than OR."""
    return _choices(re.findall(r"[()]|[^\s()]+(?: WITH [^\s()]+)?", expression))


def _choices(words: list[str]) -> list[frozenset[str]]:
    before: list[frozenset[str]] = []
    these = [frozenset[str]()]
    while words and (word := words.pop(0)) != ")":
        if word == "OR":
            before, these = before + these, [frozenset()]
        elif word != "AND":
            inner = _choices(words) if word == "(" else [frozenset({word})]
            these = [left | right for left in these for right in inner]
    return before + these


def check(part: Part, known: Mapping[str, Any]) -> None:
    """Checks that a part may be shipped, and that the text of its licence is.

    Raises:
        UnknownLicenceError: its licence is neither allowed nor an exception, or its text is missing.
    """
    name = part.name.partition(" ")[0]
    exception = next((reason for pattern, reason in known["exceptions"].items() if fnmatch(name, pattern)), "")
    if exception.partition(":")[0] != part.licence and not any(
        choice <= set(known["allowed"]) for choice in choices(part.licence)
    ):
        raise UnknownLicenceError(f"{part.name}: {part.licence} is not allowed by requirements/licences.toml")
    for place in part.text.split(", "):
        if not _is_there(place, part):
            raise UnknownLicenceError(f"{part.name}: no text of its licence: {place}: correct licences.toml")


def licence_files(package: Distribution) -> list[Path]:
    """The files of a package's metadata that hold licences."""
    files = [file for file in package.files or [] if ".dist-info" in file.parts[0] and _TEXT.search(str(file))]
    return [path for file in files if (path := Path(str(file.locate()))).is_file() and path.stat().st_size]


def _name_of(package: Distribution) -> str:
    return package.name.lower().replace("_", "-")


def _is_there(place: str, part: Part) -> bool:
    if place == OWN:
        return bool(licence_files(distribution(part.wheel or part.name)))
    if place.startswith(f"{OWN} of "):
        return bool(licence_files(distribution(place.removeprefix(f"{OWN} of "))))
    if place.startswith("https://"):
        return part.licence == "LicenseRef-NVIDIA-Proprietary"
    if place.startswith("/"):  # on other systems than Debian, the build of the image looks for it
        return Path(place).parent == DEBIAN_TEXTS and (not DEBIAN_TEXTS.exists() or Path(place).is_file())
    return (TEXTS / place).is_file()


def notices(parts: list[Part]) -> str:
    """The text of THIRD-PARTY-NOTICES.md."""
    return _HEAD + "".join(f"| {part.name} | {part.wheel} | {part.licence} | {part.text} |\n" for part in sorted(parts))


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
