"""Parts of JSON that another system wrote: what is malformed counts as missing."""

from collections.abc import Mapping
from typing import Any


def dicts_of(resource: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The objects in a list."""
    found = resource.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def dict_of(resource: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object."""
    found = resource.get(name)
    return found if isinstance(found, dict) else {}
