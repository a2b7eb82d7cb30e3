"""The texts of the console by language: one TOML file each, all with the same keys.

The words of reports and the details of failures are English in `triage`; files for each other language translate them.
"""

import re
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
    details: Mapping[str, str]

    def __call__(self, key: str, **values: object) -> str:
        return self.values[key].format(**values)

    def title(self, table: str, english: str) -> str:
        """The title of a table of a report."""
        return self.report.get(f"tables.{table}", english)

    def detail(self, english: str) -> str | None:
        """The detail of a failure in this language; None if there is only the English one."""
        if self.language == LANGUAGES[0]:
            return english
        for template, translated in self.details.items():
            pattern = "(.*)".join(map(re.escape, template.split("{}")))
            if found := re.fullmatch(pattern, english):
                return translated.format(*found.groups())
        return None

    def word(self, english: str) -> str:
        """A word of a report; as it is, if this language lacks it."""
        key = english.replace(" ", "_")
        known = (self.values.get(f"{kind}.{key}") for kind in ("outcome", "finding", "reason"))
        return self.report.get(f"words.{english}") or next(filter(None, known), english)


@cache
def load_texts(language: str) -> Texts:
    """The texts of one of the languages."""
    report, details = (
        ({}, {}) if language == LANGUAGES[0] else (_read(f"report-{language}"), _read(f"details-{language}"))
    )
    return Texts(language, _read(language), report, details)


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
