"""References between resources: `Type/id` on the same server, an absolute URL, or `#id` of a contained resource."""

import re
from dataclasses import dataclass
from typing import Final

from worker.fhir.elements import Reference

_RELATIVE: Final = re.compile(r"(?P<type>[A-Z][A-Za-z]{1,63})/(?P<id>[A-Za-z0-9\-.]{1,64})(/_history/[A-Za-z0-9\-.]+)?")
_ON_ANY_SERVER: Final = re.compile(rf"(https?://[^\s?#]+/)?{_RELATIVE.pattern}")


@dataclass(frozen=True, slots=True)
class Target:
    """A resource on the server that the reference came from."""

    type: str
    id: str

    def __str__(self) -> str:
        return f"{self.type}/{self.id}"


def target_of(reference: Reference | str | None, *, base: str | None) -> Target | None:
    """The target of a reference to a resource of the server at `base`, without a version; None for any other.

    Without a base, the server does not matter: a client passes on messages with the references of their server.

    >>> str(target_of("https://ehr.example/fhir/Binary/7/_history/2", base="https://ehr.example/fhir/"))
    'Binary/7'
    """
    text = reference.reference if isinstance(reference, Reference) else reference
    if text is None:
        return None
    if base is None:
        found = _ON_ANY_SERVER.fullmatch(text)
    else:
        found = _RELATIVE.fullmatch(text.removeprefix(f"{base.rstrip('/')}/"))
    return Target(found["type"], found["id"]) if found else None
