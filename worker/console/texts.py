"""The texts of the console by language: one TOML file each, all with the same keys."""

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

    def __call__(self, key: str, **values: object) -> str:
        return self.values[key].format(**values)


@cache
def load_texts(language: str) -> Texts:
    """The texts of one of the languages."""
    document = tomllib.loads((files(__package__) / "locales" / f"{language}.toml").read_text(encoding="utf-8"))
    return Texts(language, dict(_flat(document, "")))


def texts_for(accept_language: str | None) -> Texts:
    """The texts for the header `Accept-Language`, whose first known language is taken."""
    for item in (accept_language or "")[:_MAX_HEADER].split(","):
        language = item.partition(";")[0].strip().partition("-")[0].lower()
        if language in LANGUAGES:
            return load_texts(language)
    return load_texts(LANGUAGES[0])


def _flat(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
