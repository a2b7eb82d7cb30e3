"""The texts of the console: all languages have the same keys and placeholders, and the templates use existing ones."""

import re
from datetime import timedelta
from pathlib import Path
from string import Formatter

import pytest

import worker.console
from worker.console.page import duration
from worker.console.texts import LANGUAGES, load_texts, texts_for

TEMPLATES = sorted((Path(worker.console.__file__).parent / "templates").glob("*.html"))
ENGLISH = load_texts("en").values


def placeholders(text: str) -> set[str | None]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", LANGUAGES)
def test_languages_have_the_same_keys_and_placeholders(language: str) -> None:
    texts = load_texts(language).values
    assert texts.keys() == ENGLISH.keys()
    for key, text in texts.items():
        assert text.strip() == text != ""
        assert placeholders(text) == placeholders(ENGLISH[key]), key


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_texts_of_a_template_exist(template: Path) -> None:
    source = template.read_text(encoding="utf-8")
    for key in re.findall(r'text\("([a-z_.]+)"[,)]', source):
        assert key in ENGLISH, key
    for prefix in re.findall(r'text\("([a-z_.]+)" ~', source):
        assert any(key.startswith(prefix) for key in ENGLISH), prefix


@pytest.mark.parametrize(
    ("header", "language"),
    [(None, "en"), ("", "en"), ("es", "es"), ("ES-mx,en;q=0.5", "es"), ("de,fr;q=0.9", "en"), (",,;q=x", "en")],
)
def test_language_is_the_first_known_one_of_the_browser(header: str | None, language: str) -> None:
    assert texts_for(header).language == language


@pytest.mark.parametrize(
    ("minutes", "shown"), [(-5, "0 min"), (0.5, "0 min"), (59, "59 min"), (61, "1 h 1 min"), (1500, "1 d 1 h")]
)
def test_duration_has_two_units(minutes: float, shown: str) -> None:
    assert duration(timedelta(minutes=minutes)) == shown
