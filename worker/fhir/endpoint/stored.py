"""What is stored of a message, as clients of this product's own FHIR endpoint read it.

Source: https://hl7.org/fhir/R4/communication.html; the tag SUBSETTED of
https://terminology.hl7.org/CodeSystem-v3-ObservationValue.html.
"""

from typing import Any, Final

from triage.domain.messages import KnownMessage
from worker.fhir import terms

_SUBSETTED: Final = {"system": terms.SECURITY_VALUE, "code": "SUBSETTED"}


def as_stored(name: str, known: KnownMessage) -> dict[str, Any]:
    """A Communication that says it is not all of the message.

    Args:
        name: the id of the message, such as `Communication/1`.
        known: what is stored.
    """
    origin = known.origin
    references = {
        "subject": origin.subject if origin else None,
        "encounter": origin.encounter if origin else None,
        "sender": origin.author if origin else None,
    }
    return {
        "resourceType": "Communication",
        "id": name.removeprefix("Communication/"),
        "meta": {"versionId": str(known.version), "tag": [_SUBSETTED]},
        "language": known.locale,
        **({} if known.thread == name else {"partOf": [{"reference": known.thread}]}),
        "status": "unknown",
        **{element: {"reference": target} for element, target in references.items() if target},
        "received": known.received_at.isoformat(timespec="milliseconds"),
    }


def etag(known: KnownMessage) -> str:
    """The ETag of this version."""
    return f'W/"{known.version}"'
