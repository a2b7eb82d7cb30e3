"""The texts of the console by language: one TOML file each, all with the same keys.

The words of reports are English in `triage.reports`; a file for each other language translates them.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

LANGUAGES: Final = ("en", "es")
"""The first one is for browsers that ask for none of them."""

_MAX_HEADER: Final = 500


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of a language: `texts("queue.title")`."""

    language: str
    values: Mapping[str, str]
    report: Mapping[str, str]

    def __call__(self, key: str, **values: object) -> str:
        return self.values[key].format(**values)

    def title(self, table: str, english: str) -> str:
        """The title of a table of a report."""
        return self.report.get(f"tables.{table}", english)

    def word(self, english: str) -> str:
        """A word of a report; as it is, if this language lacks it."""
        key = english.replace(" ", "_")
        known = (self.values.get(f"{kind}.{key}") for kind in ("outcome", "finding", "reason"))
        return self.report.get(f"words.{english}") or next(filter(None, known), english)


@cache
def load_texts(language: str) -> Texts:
    """The texts of one of the languages."""
    report = {} if language == LANGUAGES[0] else _read(f"report-{language}")
    return Texts(language, _read(language), report)


def texts_for(accept_language: str | None) -> Texts:
    """The texts for the header `Accept-Language`, whose first known language is taken."""
    for item in (accept_language or "")[:_MAX_HEADER].split(","):
        language = item.partition(";")[0].strip().partition("-")[0].lower()
        if language in LANGUAGES:
            return load_texts(language)
    return load_texts(LANGUAGES[0])


def _read(name: str) -> dict[str, str]:
    document = tomllib.loads((files(__package__) / "locales" / f"{name}.toml").read_text(encoding="utf-8"))
    return dict(_flat(document, ""))


def _flat(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
