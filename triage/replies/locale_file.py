"""One file of the catalogue: the texts of a language, as TOML."""

import re
import tomllib
import unicodedata
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from triage.domain.states import FindingKind
from triage.domain.text import is_plain
from triage.errors import CatalogueError, validation_problems
from triage.files.kinds import read_regular

MAX_FILE_BYTES: Final = 2**18
MAX_TEXT: Final = 600
MAX_SUBJECT: Final = 100
MAX_VALUE: Final = 100

PLACEHOLDER: Final = re.compile(r"\{(\w*)\}")
PLACEHOLDERS: Final = frozenset({"clinic", "phone"})
_JOINERS: Final = str.maketrans("", "", "\u200c\u200d")  # Persian and Hindi, among others, are spelt with them


class MessageText(StrEnum):
    """The texts that every reply has. `HELP` is left out unless its placeholders have values."""

    SUBJECT = "subject"
    OPENING = "opening"
    NEXT_STEPS = "next_steps"
    SAFETY = "safety"
    HELP = "help"


def check_text(text: str) -> str:
    """Returns a text of a reply unchanged.

    Raises:
        ValueError: it is blank, too long, not plain text in one paragraph, or has an unknown placeholder.
    """
    if text != text.strip() or not text:
        raise ValueError("the text is empty or has spaces around it")
    if len(text) > MAX_TEXT:
        raise ValueError(f"the text is longer than {MAX_TEXT} characters")
    if not is_plain(text.translate(_JOINERS)) or not unicodedata.is_normalized("NFC", text):
        raise ValueError("the text is not plain text in one paragraph, in Unicode's form NFC")
    if set(PLACEHOLDER.findall(text)) - PLACEHOLDERS or re.search(r"[{}]", PLACEHOLDER.sub("", text)):
        raise ValueError("the text has an unknown placeholder: use {clinic} and {phone}, and no other braces")
    return text


def check_value(value: str) -> str:
    """Returns the value of a placeholder unchanged.

    Raises:
        ValueError: as `check_text`, or it is longer than 100 characters, or has braces.
    """
    if len(value) > MAX_VALUE or re.search(r"[{}]", value):
        raise ValueError(f"use at most {MAX_VALUE} characters, without braces")
    return check_text(value)


_Text = Annotated[str, AfterValidator(check_text)]
_CONFIG: Final = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class Review(BaseModel):
    """Who checked the texts of a language, and which version of them."""

    model_config = _CONFIG

    by: Annotated[str, Field(max_length=200), AfterValidator(check_text)]
    on: date
    version: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]


class LocaleFile(BaseModel):
    """The content of a file. A file of a hospital may leave out texts that a shipped or a more general file has."""

    model_config = _CONFIG

    language: _Text | None = None
    review: Review | None = None
    message: dict[Annotated[MessageText, Field(strict=False)], _Text] = {}
    instructions: dict[Annotated[FindingKind, Field(strict=False)], _Text] = {}

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a file.

        Raises:
            CatalogueError: it cannot be read, is no TOML, or has an unknown key or a malformed text.
        """
        name = f"{path.name}: "
        try:
            data = read_regular(path)
        except (OSError, ValueError) as error:
            raise CatalogueError([name + "the file cannot be read: check the path and its permissions"]) from error
        if len(data) > MAX_FILE_BYTES:
            raise CatalogueError([name + f"the file is larger than {MAX_FILE_BYTES // 1024} KiB"])
        try:
            return cls.model_validate(tomllib.loads(data.decode("utf-8")))
        except ValidationError as error:
            raise CatalogueError([name + validation_problems(error)]) from None
        except UnicodeDecodeError as error:
            raise CatalogueError([name + "the file is not UTF-8"]) from error
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            place = re.search(r"\(at [^()]*\)", str(error))
            raise CatalogueError([name + f"the file is not TOML {place[0] if place else ''}".rstrip()]) from None
