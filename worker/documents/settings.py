"""The settings in force, each with its source. Passwords are masked."""

import re
from collections.abc import Callable
from enum import StrEnum
from functools import reduce
from types import MappingProxyType
from typing import Final, Self

from pydantic import BaseModel, JsonValue, SecretStr

from worker.documents.document import Document
from worker.settings import VARIABLES, Settings
from worker.variables import Variable

MASK: Final = "***"
_URL_PASSWORD: Final = re.compile(r"(://[^:/?#@]*:).*@", re.DOTALL)
_OPTION: Final = re.compile(r"([?&]([^=&]*)=)[^&]*")
_ORIGIN: Final = re.compile(r"([a-z]+://[^/?]*)(/?.*)")
_SHOWN_OPTIONS: Final = re.compile(
    "user|db|dbname|host|port|connect_timeout|target_session_attrs|sslmode|sslrootcert|sslcert|sslkey"
    "|ssl_cert_reqs|ssl_ca_certs|ssl_certfile|ssl_keyfile"
)
"""The options of URLs that are no secret. Others may be: a signature grants access to an object store."""

_KEEPS_PATH_SECRET: Final = frozenset({"TRIAGE_WEBHOOK__URL"})
"""Variables of URLs whose path may have a token of the receiver."""

_FALLBACKS: Final = MappingProxyType[str, Callable[[Settings], str]](
    {
        "TRIAGE_DATABASE__URL": lambda settings: settings.database_url,
        "TRIAGE_REDIS__URL": lambda settings: settings.redis_url,
        "TRIAGE_BLOBS__URL": lambda settings: settings.blobs_url,
        "TRIAGE_MODELS__URL": lambda settings: settings.models_url,
        "TRIAGE_SCORER__CACHE_FOLDER": lambda settings: str(settings.cache_folder),
        "TRIAGE_TRAINING__FOLDER": lambda settings: str(settings.training_folder),
    }
)
"""What takes the place of variables that are unset: services and folders below `TRIAGE_HOME`."""


class Source(StrEnum):
    """Where the value of a setting comes from."""

    ENVIRONMENT = "environment"
    DEFAULT = "default"
    EMBEDDED = "embedded"  # the embedded services


class SettingDocument(Document):
    """A setting in force: its variable, its value, and where that comes from. `***` stands for a secret."""

    variable: str
    value: JsonValue
    source: Source

    @classmethod
    def of(cls, settings: Settings, variable: Variable) -> Self:
        *groups, name = variable.path
        group = reduce(getattr, groups, settings)
        value = getattr(group, name)
        if _is_given(settings, variable.path):
            source = Source.ENVIRONMENT
        elif variable.name in _FALLBACKS:
            value, source = _FALLBACKS[variable.name](settings), Source.EMBEDDED
        else:
            source = Source.DEFAULT
        if isinstance(value, SecretStr):
            value = value.get_secret_value() if name == "url" else MASK
        if value is not None and variable.name in _KEEPS_PATH_SECRET:
            value = _ORIGIN.sub(rf"\1/{MASK}", str(value))
        return cls(variable=variable.name, value=_shown(value), source=source)


def settings_in_force(settings: Settings) -> list[SettingDocument]:
    """Every setting, in the order of the documentation."""
    return [SettingDocument.of(settings, variable) for variable in VARIABLES.values()]


def _is_given(settings: BaseModel, path: tuple[str, ...]) -> bool:
    name, *inner = path
    if name not in settings.model_fields_set:
        return False
    return not inner or _is_given(getattr(settings, name), tuple(inner))


def _shown(value: object) -> JsonValue:
    if isinstance(value, tuple):
        return [_shown(each) for each in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return without_password(str(value))


def without_password(url: str) -> str:
    """A URL with its password masked, and the values of all options that may be secret."""
    return _OPTION.sub(
        lambda option: option[0] if _SHOWN_OPTIONS.fullmatch(option[2]) else option[1] + MASK,
        _URL_PASSWORD.sub(rf"\1{MASK}@", url),
    )
