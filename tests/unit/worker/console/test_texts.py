"""The texts of the console: all languages have the same keys and placeholders, and the templates use existing ones."""

import ast
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from string import Formatter

import pytest

import triage
import worker.console
from triage.domain.states import ArrivalError, DeliveryError
from triage.errors import ErrorCode
from worker.console.page import _with_code, duration
from worker.console.texts import LANGUAGES, load_texts, texts_for

TEMPLATES = sorted((Path(worker.console.__file__).parent / "templates").glob("*.html"))
ENGLISH = load_texts("en").values
CONSOLE, PRODUCT = (Path(str(package.__file__)).parent for package in (worker.console, triage))
REFUSING = [*CONSOLE.glob("*.py"), *(PRODUCT / "queue").glob("*.py"), PRODUCT / "photo_reviews" / "voting.py"]
REFUSING += [PRODUCT / "retakes" / f"{name}.py" for name in ("override", "reviews", "scenario", "proposals")]
REFUSING += [PRODUCT / "model" / f"{name}.py" for name in ("artifact", "weights")]
REFUSING += [PRODUCT / "training" / f"{name}.py" for name in ("checkpoint", "initial", "pretrain", "run", "train")]
REFUSING += [PRODUCT / "training" / "unlabelled.py"]
"""Modules whose failures people see by ordinary use of the console, also as the reason why a run failed."""

OF_COMMANDS = {
    "invalid limit: use 1 to 200 messages",
    "invalid limit: use at least 1",
    "invalid age: use a time up to a hundred years",
    "invalid lease: use up to a day",
    "invalid override: decide `pass` or `retake`",
    "numbers of photos are from 1 to 1000: correct them",
}
"""Failures that no page can cause."""


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


def details(modules: list[Path]) -> Iterator[str]:
    """The details of failures that people may see, with `{}` for what is filled in."""
    shown = {
        "UsageError",
        "NotFoundError",
        "LeaseLostError",
        "ModelError",
        "ModelNotEvaluatedError",
        "UnknownModelError",
        "UntrainedModelError",
    }
    for module in modules:
        for call in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in shown and call.args:
                match call.args[0]:
                    case ast.Constant(value=str(text)):
                        yield text
                    case ast.JoinedStr(values=parts):
                        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)


def test_details_of_failures_are_translated() -> None:
    spanish = load_texts("es")
    missing = {each for each in details(REFUSING) if spanish.detail(each.replace("{}", "7")) is None}
    assert missing == OF_COMMANDS


def test_translated_details_are_those_of_the_product() -> None:
    source = {*details(sorted(PRODUCT.rglob("*.py"))), *details(REFUSING)}
    built = {each for each in load_texts("es").details if each not in source}
    assert {each.partition(" ")[2] for each in built} == {  # put together from parts
        "event cannot be retried: it is delivered",
        "event cannot be retried: it is dropped",
        "event is being sent now: list it again in a minute",
        "delivery has this event id: list the deliveries and check the id",
        "arrival cannot be retried: it is done",
        "arrival cannot be retried: it is {}",
        "error: {} at {}",
    }


def test_detail_is_filled_in_and_stays_english_when_there_is_no_translation() -> None:
    english = "this thread has reached the limit of 3 retake requests: contact the patient another way"
    assert load_texts("en").detail(english) == english
    assert "límite de 3 solicitudes" in (load_texts("es").detail(english) or "")
    assert load_texts("es").detail("a new failure") is None


@pytest.mark.parametrize(
    ("kind", "codes"), [("error", ErrorCode), ("undelivered", DeliveryError), ("unread", ArrivalError)]
)
def test_codes_have_texts(kind: str, codes: type[ErrorCode | DeliveryError | ArrivalError]) -> None:
    assert {key.partition(".")[2] for key in ENGLISH if key.startswith(f"{kind}.")} == set(codes)


def test_command_in_a_text_is_code_and_nothing_else_is_markup() -> None:
    assert _with_code("run `triage <b>` & see") == "run <code>triage &lt;b&gt;</code> &amp; see"
