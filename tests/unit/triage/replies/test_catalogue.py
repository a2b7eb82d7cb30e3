from pathlib import Path

import pytest

from triage.domain.states import FindingKind
from triage.errors import CatalogueError
from triage.replies.catalogue import Catalogue, load_catalogue, shipped_catalogue
from triage.replies.locale_file import MAX_FILE_BYTES, MAX_TEXT, MessageText

ENGLISH = shipped_catalogue().texts_for("en")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def _write(folder: Path, tag: str, *lines: str) -> None:
    (folder / f"{tag}.toml").write_text("\n".join(lines), encoding="utf-8")


def _complete(**changes: str) -> list[str]:
    """The lines of a file with every text."""
    message = {key.value: f"M {key}." for key in MessageText} | changes
    instructions = {kind.value: f"I {kind}." for kind in FindingKind}
    return [
        "[message]",
        *(f'{key} = "{text}"' for key, text in message.items()),
        "[instructions]",
        *(f'{key} = "{text}"' for key, text in instructions.items()),
    ]


def _problems(folder: Path, **options: str) -> list[str]:
    with pytest.raises(CatalogueError) as raised:
        load_catalogue(folder, **options)
    assert str(raised.value).isprintable()
    return list(raised.value.problems)


@pytest.mark.parametrize(
    ("locale", "used"),
    [
        ("es", "es"),
        ("es-MX", "es"),
        ("ES-mx", "es"),
        ("es-Latn-419-x-private", "es"),
        ("und", "en"),
        ("fr-CA", "en"),
        ("e", "en"),
    ],
)
def test_language_falls_back_to_a_more_general_one_and_then_to_the_default(locale: str, used: str) -> None:
    reply = shipped_catalogue().reply([], locale)

    assert reply.locale == used
    assert shipped_catalogue().texts_for(locale).tag == used


def test_default_of_the_settings_replaces_english(folder: Path) -> None:
    assert load_catalogue(default="ES").reply([], "fr").locale == "es"
    _write(folder, "fr", *_complete())
    assert load_catalogue(folder, default="fr").reply([], "und").locale == "fr"
    assert _problems(folder, default="de") == [
        "the default language has no texts: add its file, or choose another default"
    ]


def test_reply_has_each_part_once_in_order_when_two_reasons_are_named() -> None:
    reply = shipped_catalogue().reply([FindingKind.TOO_DARK, FindingKind.MOTION], "en-GB")

    message, instructions = ENGLISH.message, ENGLISH.instructions
    assert reply.text.split("\n\n") == [
        message[MessageText.OPENING],
        instructions[FindingKind.TOO_DARK],
        instructions[FindingKind.MOTION],
        message[MessageText.NEXT_STEPS],
        message[MessageText.SAFETY],
    ]
    assert (reply.subject, reply.catalogue_version) == (message[MessageText.SUBJECT], ENGLISH.version)


def test_reply_says_how_to_take_a_good_photo_when_no_reason_is_known() -> None:
    assert ENGLISH.instructions[FindingKind.NO_CLEAR_REASON] in shipped_catalogue().reply([], "en").text


def test_help_is_offered_when_both_clinic_and_phone_are_known() -> None:
    offered = load_catalogue(clinic="{phone}'s Clinic".replace("{phone}", "North"), phone="555 0100").reply([], "en")

    assert offered.text.endswith("Call North's Clinic at 555 0100.")
    assert "555 0100" not in load_catalogue(phone="555 0100").reply([], "en").text


def test_hospital_replaces_single_texts_and_adds_regions_and_languages(folder: Path) -> None:
    _write(folder, "es", "[instructions]", 'too_dark = "Más luz, por favor."')
    _write(folder, "es-MX", "[message]", 'subject = "Fotos para {clinic}"')
    _write(folder, "fa", *_complete(opening="می\u200cبینیم"))
    catalogue = load_catalogue(folder, clinic="Norte")

    mexican = catalogue.reply([FindingKind.TOO_DARK], "es-mx")
    assert (mexican.locale, mexican.subject) == ("es-MX", "Fotos para Norte")
    assert "Más luz, por favor." in mexican.text
    assert catalogue.reply([], "es-ES").subject == shipped_catalogue().texts_for("es").message[MessageText.SUBJECT]
    assert "می\u200cبینیم" in catalogue.reply([], "fa-IR").text
    assert catalogue.texts_for("en") == ENGLISH


def test_version_changes_with_any_text(folder: Path) -> None:
    before = load_catalogue(folder).texts_for("es").version
    _write(folder, "es", "[instructions]", 'too_dark = "Más luz."')

    assert load_catalogue(folder).texts_for("es").version != before
    assert load_catalogue(folder).texts_for("en").version == ENGLISH.version


def _signed(folder: Path, version: str, text: str) -> Catalogue:
    review = ["[review]", 'by = "Dr. A"', "on = 2026-11-29", f'version = "{version}"']
    _write(folder, "es", *review, "[instructions]", f'too_dark = "{text}"')
    return load_catalogue(folder)


def test_review_ends_when_a_text_changes_after_it(folder: Path) -> None:
    version = _signed(folder, "0" * 12, "Más luz.").texts_for("es").version

    reviewed = _signed(folder, version, "Más luz.").texts_for("es").review
    assert reviewed is not None
    assert (reviewed.by, reviewed.on.isoformat()) == ("Dr. A", "2026-11-29")
    assert _signed(folder, version, "Mucha más luz.").texts_for("es").review is None


def test_shipped_texts_are_drafts_until_somebody_signs_them() -> None:
    assert {texts.tag: texts.review for texts in shipped_catalogue().locales.values()} == {"en": None, "es": None}


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["[message"], "es.toml: the file is not TOML (at end of document)"),
        (['other = "x"'], "es.toml: other: unknown name"),
        (["[message]", 'greeting = "Hola."'], "es.toml: message.greeting"),
        (["[instructions]", 'blurry = "x"'], "es.toml: instructions.blurry"),
        (["[instructions]", "defocus = 3"], "es.toml: instructions.defocus: Input should be a valid string"),
        (["[instructions]", 'defocus = ""'], "es.toml: instructions.defocus: the text is empty"),
        (["[instructions]", 'defocus = "a\\nb"'], "es.toml: instructions.defocus: the text is not plain text"),
        (["[instructions]", 'defocus = "\\u202Ea"'], "es.toml: instructions.defocus: the text is not plain text"),
        (
            ["[instructions]", f'defocus = "{"x" * (MAX_TEXT + 1)}"'],
            "es.toml: instructions.defocus: the text is longer",
        ),
        (
            ["[instructions]", 'defocus = "{name}"'],
            "es.toml: instructions.defocus: the text has an unknown placeholder",
        ),
        (["[instructions]", 'defocus = "{clinic!r}"'], "es.toml: instructions.defocus: the text has an unknown"),
        (["[instructions]", 'defocus = "Call {phone}."'], "es: defocus: {phone} has no value"),
        (["[message]", f'subject = "{"x" * 101}"'], "es: subject: the text is longer than 100 characters"),
        (["[review]", 'by = "A"'], "es.toml: review.on: Field required"),
        (["#" * (MAX_FILE_BYTES + 1)], "es.toml: the file is larger than 256 KiB"),
        (["a = " + "[" * 5000], "es.toml: the file is not TOML"),
    ],
)
def test_malformed_file_is_refused_with_the_place_of_the_problem(folder: Path, lines: list[str], problem: str) -> None:
    _write(folder, "es", *lines)

    [found] = _problems(folder)

    assert found.startswith(problem)


def test_every_problem_of_every_file_is_listed(folder: Path) -> None:
    _write(folder, "fr", "[message]", 'subject = "Photos"')
    _write(folder, "de", "[message")
    _write(folder, "Mustermann, Erika")
    (folder / "pt.toml").write_bytes(b'language = "\xff"')
    _write(folder, "it", *_complete())
    _write(folder, "IT", *_complete())

    problems = _problems(folder)

    assert len(problems) == 5
    assert any(each.startswith("fr: no text for badly_framed, colour_cast, defocus") for each in problems)
    assert not any("Mustermann" in each for each in problems)


@pytest.mark.parametrize("kind", ["missing", "file", "unreadable name"])
def test_folder_that_cannot_be_read_is_a_problem(folder: Path, kind: str) -> None:
    path = {"missing": folder / "none", "file": folder / "a.txt", "unreadable name": Path("a\0b")}[kind]
    (folder / "a.txt").touch()

    assert _problems(path) == ["the folder cannot be read: check its path and permissions"]
