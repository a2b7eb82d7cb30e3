"""The documentation agrees with the repository: links, paths, modules, make targets and decision records."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from triage.errors import Fault
from worker.broker.celery_logs import EVENTS
from worker.logging import FOREIGN_EVENTS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
RECORDS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
CODE = ("triage", "worker", "migrations", "tests", "benchmarks", "recipes", "deploy")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _links(page: Path) -> list[str]:
    """The relative links of a page."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    return [target for target in targets if "://" not in target]


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_relative_link_exists(page: Path) -> None:
    for link in _links(page):
        target, _, anchor = link.partition("#")
        linked = (page.parent / target).resolve() if target else page
        assert linked.exists(), link
        assert not anchor or anchor in _anchors(linked), link


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_named_path_of_the_repository_exists(page: Path) -> None:
    folders = "|".join((*CODE, "docs", "requirements"))
    for path in re.findall(rf"`((?:{folders})/[\w./-]*)", page.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=_name)
def test_every_named_module_and_its_attribute_exist(page: Path) -> None:
    packages = "|".join(name for name in CODE if name != "deploy")
    for name in re.findall(rf"(?<![\w./-])(?:{packages})(?:\.\w+)+", page.read_text(encoding="utf-8")):
        source, attributes = _module_of(name.split("."))
        assert source is not None, name
        text = source.read_text(encoding="utf-8") if source.exists() else ""
        for attribute in attributes:
            assert re.search(
                rf"^(def|class) {attribute}\b|^{attribute}\b.*=|\bimport\b.*\b{attribute}\b", text, re.M
            ), name


def _module_of(parts: list[str]) -> tuple[Path | None, list[str]]:
    """The file of the longest prefix that is a module or a package, and the names that remain."""
    for length in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:length])
        if path.with_suffix(".py").exists():
            return path.with_suffix(".py"), parts[length:]
        if path.is_dir():
            return path / "__init__.py", parts[length:]
    return None, parts


def test_nothing_is_installed_by_the_name_of_the_product() -> None:
    """It is not published, so anyone could publish something else under its name."""
    named = re.compile(r"""pip3? (?:install|download)[^\n`]*[\s"'`]skin-photo-triage""")
    for source in [*PAGES, *_sources(), *ROOT.glob("deploy/**/*"), ROOT / "Dockerfile"]:
        if source.is_file() and source != Path(__file__):
            assert not named.search(source.read_text(encoding="utf-8")), _name(source)


def test_every_named_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        named = re.findall(r"(?:`|^ *)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(named) <= targets, _name(page)


def test_every_page_named_in_code_exists() -> None:
    for source in _sources():
        for path in re.findall(r"\bdocs/[\w/-]+\.(?:md|svg)\b", source.read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), f"{_name(source)}: {path}"


def _sources() -> Iterator[Path]:
    yield from (ROOT / name for name in ("Makefile", "Dockerfile", "docker-compose.yml", "pyproject.toml"))
    for folder in CODE:
        yield from (path for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".yml", ".json", ".example"})


def test_every_page_is_linked_from_an_index() -> None:
    indexes = [ROOT / "README.md", *ROOT.glob("docs/**/README.md")]
    linked = {(page.parent / link.partition("#")[0]).resolve() for page in indexes for link in _links(page)}

    assert {page for page in PAGES if page != ROOT / "README.md"} <= linked


def test_records_are_numbered_without_gaps_and_named_by_their_titles() -> None:
    index = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    for number, record in enumerate(RECORDS, start=1):
        heading = record.read_text(encoding="utf-8").partition("\n")[0]
        title = heading.removeprefix(f"# {number}. ")
        assert title != heading, record.name
        assert record.name == f"{number:04d}-{re.sub(r'[^a-z0-9 -]', '', title.lower()).replace(' ', '-')}.md"
        assert f"- [{number}. {title}]({record.name})\n" in index


def test_every_log_event_is_documented() -> None:
    logged: set[str] = set()
    for folder in ("triage", "worker"):
        for source in (ROOT / folder).rglob("*.py"):
            text = source.read_text(encoding="utf-8")
            logged |= set(re.findall(r'\blog\.(?:info|warning|error)\(\s*"([a-z_.]+)"', text))
    logged |= EVENTS | FOREIGN_EVENTS
    page = (ROOT / "docs" / "operations" / "logs.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+?`) \|", page.partition("## Reasons")[0], re.MULTILINE)

    assert {event for row in rows for event in re.findall(r"[a-z_.]+", row)} == logged


def test_every_reason_of_an_outage_is_documented() -> None:
    page = (ROOT / "docs" / "operations" / "logs.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+?`) \|", page.partition("## Reasons")[2], re.MULTILINE)

    assert {kind for row in rows for kind in re.findall(r"`(\w+)`", row)} == set(Fault)


@pytest.mark.parametrize("package", ["triage", "worker"])
def test_layers_of_rooms_are_those_of_the_import_contracts(package: str) -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = page.partition(f"| layer of `{package}` | rooms |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| \d+ \| (.*) \|$", table, re.MULTILINE)
    shown = [set(re.findall(r"(?:^|[;,] )`(\w+)`", row)) for row in rows]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    [contract] = [each for each in contracts if each["name"] == f"layers of {package}"]
    assert shown == [set(layer.split(" | ")) for layer in contract["layers"]]


def test_all_places_name_the_same_versions_of_python() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    prefix = "Programming Language :: Python :: "
    classifiers = settings["project"]["classifiers"]
    *others, newest = versions = [each.removeprefix(prefix) for each in classifiers if each.startswith(prefix)]

    assert settings["project"]["requires-python"] == f">={versions[0]}"
    assert settings["tool"]["mypy"]["python_version"] == versions[0]
    assert f"py{versions[0].replace('.', '')}" == settings["tool"]["ruff"]["target-version"]
    for page, word in (("README.md", "or"), ("docs/operations/install.md", "and")):
        assert f"Python {', '.join(others)} {word} {newest}" in (ROOT / page).read_text(encoding="utf-8")
