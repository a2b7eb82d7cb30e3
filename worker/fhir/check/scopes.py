"""Scopes of SMART on FHIR, and those that this product needs.

Version 1: `system/Observation.read`, `.write`, `.*`. Version 2: `system/Observation.cruds`, with any of the letters of
create, read, update, delete and search.

Source: https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html, version 2.2.0.
"""

import re
from collections.abc import Collection, Mapping
from typing import Final

from worker.setting_groups import FhirSettings, RetakeResource

_SCOPE: Final = re.compile(r"system/(?P<type>[A-Za-z]+|\*)\.(?P<rights>read|write|\*|c?r?u?d?s?)(\?\S*)?")
_VERSION_1: Final = {"read": "rs", "write": "cud", "*": "cruds"}
_WRITTEN: Final[Mapping[RetakeResource, Collection[str]]] = {
    "CommunicationRequest": ("Observation", "CommunicationRequest"),
    "Task": ("Observation", "CommunicationRequest", "Task"),
    "Communication": ("Observation", "Communication"),
    "none": ("Observation",),
}


def rights_needed(settings: FhirSettings) -> Mapping[str, str]:
    """The letters of the interactions with each type of resource that these settings need.

    An answer is read as well as written: a server may create without a body, or have two of it.
    """
    needed = dict.fromkeys(("Communication", "Binary", "DocumentReference", "Media", "CommunicationRequest"), "r")
    if settings.poll_query is not None:
        needed["Communication"] = "rs"
    if settings.hook_url is not None:
        needed["Subscription"] = "crus"
    return needed | dict.fromkeys(written_types(settings) if settings.answers else (), "crus")


def written_types(settings: FhirSettings) -> Collection[str]:
    """The types of the resources that answers are."""
    return _WRITTEN[settings.retakes_as]


def lacking(granted: Collection[str], needed: Mapping[str, str]) -> list[str]:
    """What is needed and no granted scope permits, as scopes of version 2.

    >>> lacking(["system/*.read"], {"Binary": "r", "Observation": "crus"})
    ['system/Observation.cu']
    """
    missing = []
    for kind, letters in needed.items():
        permitted = {letter for scope in granted for letter in _rights(scope, kind)}
        if left := "".join(letter for letter in letters if letter not in permitted):
            missing.append(f"system/{kind}.{left}")
    return missing


def written(needed: Mapping[str, str], *, version: int) -> str:
    """The scopes that permit what is needed, as the server writes them."""
    if version == 2:
        return " ".join(f"system/{kind}.{letters}" for kind, letters in needed.items())
    return " ".join(
        f"system/{kind}.{word}"
        for kind, letters in needed.items()
        for word, of_word in (("read", "rs"), ("write", "cud"))
        if set(letters) & set(of_word)
    )


def _rights(scope: str, kind: str) -> str:
    found = _SCOPE.fullmatch(scope)
    if found is None or found["type"] not in {kind, "*"}:
        return ""
    return _VERSION_1.get(found["rights"], found["rights"])
