"""The environment variables of the settings: their names, and variables of the environment that are none."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

PREFIX: Final = "TRIAGE_"
_MAX_CHARACTERS: Final = 80
_OTHER_NAMES: Final = {"STATE_FOLDER": f"{PREFIX}HOME"}
"""What the documentation calls a setting whose own name is not similar."""
# Kubernetes and Docker tell every container the address of a service that is called triage or triage-...
_SERVICE_LINK: Final = re.compile(r"\w*(SERVICE_HOST|SERVICE_PORT\w*|PORT_\d+_\w+)=.*|(\w+_)?PORT=\w+://.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable that sets one value.

    Attributes:
        name: such as `TRIAGE_INBOX__LEASE_SECONDS`.
        path: the names of its group, if any, and of its field.
        default: the value if the variable is unset.
        meaning: one line of Markdown.
    """

    name: str
    path: tuple[str, ...]
    default: Any
    meaning: str


def variables_of(settings: type[BaseModel]) -> dict[str, Variable]:
    """The variables of a settings model by name, in the order of its fields."""
    return {variable.name: variable for variable in _variables(settings, ())}


def _variables(model: type[BaseModel], above: tuple[str, ...]) -> Iterator[Variable]:
    for name, field in model.model_fields.items():
        path = (*above, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _variables(field.annotation, path)
        else:
            yield Variable(
                variable_name(path), path, None if field.default_factory else field.default, field.description or ""
            )


def variable_name(path: Collection[str]) -> str:
    return f"{PREFIX}{'__'.join(path).upper()}"


def unknown_variables(environment: Mapping[str, str], known: Collection[str]) -> list[str]:
    """Describes each variable that looks like a setting and is none, with the most similar name of a setting.

    Args:
        environment: of the process. Its names are compared in upper case.
        known: names of all settings.
    """
    return [
        f"{_shown(name)}: unknown setting: {_remedy(name, known)}"
        for name, value in environment.items()
        if name.upper().startswith(PREFIX)
        and name.upper() not in known
        and ("__" in name or not _SERVICE_LINK.fullmatch(f"{name[len(PREFIX) :]}={value}"))
    ]


def _remedy(name: str, known: Collection[str]) -> str:
    from difflib import get_close_matches  # deferred: only for errors

    if inside := next((each for each in known if each.startswith(f"{name.upper()}__")), None):
        return f"set those of its group, such as {inside}"
    names = {each.removeprefix(PREFIX): each for each in known}
    given = name[len(PREFIX) : _MAX_CHARACTERS].upper()
    meant = _OTHER_NAMES.get(given) or next((names[each] for each in get_close_matches(given, names, n=1)), None)
    return f"use {meant}, or unset it" if meant else "unset it"


def _shown(name: str) -> str:
    shortened = name if len(name) <= _MAX_CHARACTERS else f"{name[:_MAX_CHARACTERS]}..."
    return shortened if shortened.isprintable() else ascii(shortened)
