"""The catalogue: the texts of replies by language, and the choice of a language for a message.

The product ships a file for each language. A hospital's folder adds languages, and replaces single texts.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Final

from triage.domain.replies import Reply, Tip
from triage.domain.states import FindingKind
from triage.domain.text import check_locale
from triage.errors import CatalogueError, UsageError
from triage.replies.locale_file import MAX_SUBJECT, PLACEHOLDER, LocaleFile, MessageText

DEFAULT_LOCALE: Final = "en"
_SHIPPED: Final = Path(__file__).parent / "locales"
_VERSION_LENGTH: Final = 12


@dataclass(frozen=True, slots=True)
class ReviewedBy:
    """Who checked the texts of a language, and when."""

    by: str
    on: date


@dataclass(frozen=True, slots=True)
class LocaleTexts:
    """The texts of a language, complete.

    Attributes:
        tag: of BCP 47.
        language: the name of the language.
        version: a hash of the texts, so that a changed text never keeps the version of the old one.
        review: of this version; None if it is a draft.
    """

    tag: str
    language: str
    version: str
    review: ReviewedBy | None
    message: Mapping[MessageText, str]
    instructions: Mapping[FindingKind, str]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The texts of all languages, and the values of their placeholders.

    Attributes:
        locales: by tag in lower case.
        default: the tag of the language of messages whose language has no texts.
        values: of the placeholders that have one.
    """

    locales: Mapping[str, LocaleTexts]
    default: str
    values: Mapping[str, str]

    def texts_for(self, locale: str) -> LocaleTexts:
        """The texts for a language tag: its own, else those of a more general tag, else the default (RFC 4647, 3.4)."""
        tag = next((tag for tag in _and_parents(locale) if tag in self.locales), self.default.lower())
        return self.locales[tag]

    def instruction(self, kind: FindingKind, locale: str) -> str:
        """What a patient can do about a reason."""
        return self._filled(self.texts_for(locale).instructions[kind])

    def tip(self, kinds: Sequence[FindingKind], locale: str) -> Tip:
        """What a patient can do about reasons; without one, how to take a good photo."""
        texts = self.texts_for(locale)
        return Tip(texts.tag, texts.version, "\n\n".join(map(self._filled, _instructions(texts, kinds))))

    def reply(self, kinds: Sequence[FindingKind], locale: str) -> Reply:
        """Writes the reply of a retake request.

        Args:
            kinds: the reasons to name, the most important first; without one, how to take a good photo.
            locale: the language that the message asks for.
        """
        texts = self.texts_for(locale)
        message = texts.message
        paragraphs = [
            message[MessageText.OPENING],
            *_instructions(texts, kinds),
            message[MessageText.NEXT_STEPS],
            message[MessageText.SAFETY],
        ]
        help_ = message.get(MessageText.HELP)
        if help_ is not None and not self.missing(help_):
            paragraphs.append(help_)
        return Reply(
            locale=texts.tag,
            catalogue_version=texts.version,
            subject=self._filled(message[MessageText.SUBJECT]),
            text="\n\n".join(map(self._filled, paragraphs)),
        )

    def missing(self, text: str) -> list[str]:
        """The placeholders of a text that have no value."""
        return [name for name in PLACEHOLDER.findall(text) if name not in self.values]

    def _filled(self, text: str) -> str:
        return PLACEHOLDER.sub(lambda found: self.values[found[1]], text)


def _instructions(texts: LocaleTexts, kinds: Sequence[FindingKind]) -> list[str]:
    return [texts.instructions[kind] for kind in kinds or [FindingKind.NO_CLEAR_REASON]]


def load_catalogue(
    folder: Path | None = None,
    *,
    default: str = DEFAULT_LOCALE,
    clinic: str | None = None,
    phone: str | None = None,
) -> Catalogue:
    """Reads the files that ship with the product and those of a hospital, and checks them.

    Args:
        folder: with files of the hospital, such as `es-MX.toml`.
        default: the language of messages whose language has no texts.
        clinic: the value of `{clinic}`.
        phone: the value of `{phone}`.

    Raises:
        CatalogueError: a file is malformed, a language lacks a text, a placeholder has no value, or the default has no
            texts. It lists all problems.
    """
    shipped = _read_shipped()
    problems: list[str] = []
    own = _read_folder(folder, problems) if folder is not None else {}
    values = {name: value for name, value in (("clinic", clinic), ("phone", phone)) if value is not None}
    locales = {}
    for tag in sorted({*shipped, *own}):
        layers = [files[each] for each in reversed(_and_parents(tag)) for files in (shipped, own) if each in files]
        name = next(files[tag][0] for files in (own, shipped) if tag in files)
        locales[tag] = _merged(name, [file for _, file in layers])
    catalogue = Catalogue(locales, default, values)
    for texts in locales.values():
        problems += [f"{texts.tag}: {problem}" for problem in _problems(catalogue, texts)]
    if default.lower() not in locales:
        problems.append("the default language has no texts: add its file, or choose another default")
    if problems:
        raise CatalogueError(problems)
    return catalogue


@cache
def shipped_catalogue() -> Catalogue:
    """The texts that ship with the product, without values of placeholders."""
    return load_catalogue()


@cache
def _read_shipped() -> Mapping[str, tuple[str, LocaleFile]]:
    return {path.stem.lower(): (path.stem, LocaleFile.read(path)) for path in sorted(_SHIPPED.glob("*.toml"))}


def _read_folder(folder: Path, problems: list[str]) -> dict[str, tuple[str, LocaleFile]]:
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".toml" and not path.name.startswith("."))
    except (OSError, ValueError):
        problems.append("the folder cannot be read: check its path and permissions")
        return {}
    files: dict[str, tuple[str, LocaleFile]] = {}
    for path in paths:
        try:
            tag = check_locale(path.stem).lower()
        except UsageError:
            problems.append("a file is not named after its language: use names such as es-MX.toml")
            continue
        if tag in files:
            problems.append(f"{path.name}: another file has the same language")
        try:
            files[tag] = (path.stem, LocaleFile.read(path))
        except CatalogueError as error:
            problems += error.problems
    return files


def _and_parents(tag: str) -> list[str]:
    """A tag and the more general ones, in lower case: `zh-hant-tw`, `zh-hant`, `zh`.

    >>> _and_parents("es-MX")
    ['es-mx', 'es']
    """
    parts = tag.lower().split("-")
    return ["-".join(parts[:length]) for length in range(len(parts), 0, -1)]


def _merged(tag: str, layers: Sequence[LocaleFile]) -> LocaleTexts:
    """The texts of files, the most specific last. A review counts only if it is of the version that results."""
    message = {key: text for layer in layers for key, text in layer.message.items()}
    instructions = {key: text for layer in layers for key, text in layer.instructions.items()}
    version = _version(_by_key(message, instructions))
    review = next((each.review for each in reversed(layers) if each.review and each.review.version == version), None)
    return LocaleTexts(
        tag=tag,
        language=next((each.language for each in reversed(layers) if each.language), tag),
        version=version,
        review=ReviewedBy(review.by, review.on) if review else None,
        message=message,
        instructions=instructions,
    )


def _by_key(message: Mapping[MessageText, str], instructions: Mapping[FindingKind, str]) -> dict[str, str]:
    return {key.value: text for texts in (message, instructions) for key, text in texts.items()}


def _version(texts: Mapping[str, str]) -> str:
    text = json.dumps(texts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_VERSION_LENGTH]


def _problems(catalogue: Catalogue, texts: LocaleTexts) -> Iterator[str]:
    required = {key.value for key in (*MessageText, *FindingKind) if key is not MessageText.HELP}
    given = _by_key(texts.message, texts.instructions)
    if lacking := sorted(required - given.keys()):
        yield f"no text for {', '.join(lacking)}"
    if len(given.get(MessageText.SUBJECT, "")) > MAX_SUBJECT:
        yield f"subject: the text is longer than {MAX_SUBJECT} characters"
    for key, text in given.items():
        if key != MessageText.HELP and (missing := catalogue.missing(text)):
            yield f"{key}: {{{missing[0]}}} has no value"
