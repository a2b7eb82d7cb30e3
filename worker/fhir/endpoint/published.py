"""The definitions that this product publishes: what its server does, its profiles and its codes, as files."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

_FOLDER: Final = Path(__file__).with_name("definitions")
_SMART: Final = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"


@cache
def definitions() -> Mapping[tuple[str, str], Mapping[str, Any]]:
    """All definitions, by resource type and id."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(_FOLDER.glob("*.json"))]
    return MappingProxyType({(each["resourceType"], each["id"]): each for each in found})


def capability_statement(base: str, *, token_url: str, release: str) -> dict[str, Any]:
    """What the server at a base does, as that server says it.

    Args:
        base: of the server, such as `https://triage.example.org/fhir`.
        token_url: where its clients get access tokens.
        release: of the product.
    """
    statement = dict(definitions()["CapabilityStatement", "server"])
    [rest] = statement["rest"]
    uris = [{"url": _SMART, "extension": [{"url": "token", "valueUri": token_url}]}]
    return statement | {
        "kind": "instance",
        "software": {**statement["software"], "version": release},
        "implementation": {"description": statement["description"], "url": base},
        "rest": [rest | {"security": rest["security"] | {"extension": uris}}],
    }
