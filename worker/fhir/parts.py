"""Elements that several kinds of written resources have, as plain dictionaries."""

from datetime import UTC, datetime
from typing import Any, Final

Resource = dict[str, Any]
PRODUCT: Final = "skin-photo-triage"


def concept(system: str, code: str) -> Resource:
    return {"coding": [coding(system, code)]}


def coding(system: str, code: str) -> Resource:
    return {"system": system, "code": str(code).replace("_", "-")}


def reference(target: str | None) -> Resource | None:
    return {"reference": target} if target else None


def instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def without_empty(resource: Resource) -> Resource:
    """FHIR allows neither null nor empty lists and objects."""
    kept = {key: without_empty(value) if isinstance(value, dict) else value for key, value in resource.items()}
    return {key: value for key, value in kept.items() if value not in (None, [], {})}


def identifier_query(resource: Resource) -> str:
    """A search that finds a resource by its first identifier, which never changes."""
    identifier = resource["identifier"][0]
    return f"identifier={identifier['system']}|{identifier['value']}"
