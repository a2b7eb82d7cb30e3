"""Resources that are written back, as plain dictionaries: an Observation for each photo, a CommunicationRequest for
each retake request.

Sources: https://hl7.org/fhir/R4/observation.html, communicationrequest.html; the security label AIAST (asserted by
artificial intelligence) of https://terminology.hl7.org/CodeSystem-v3-ObservationValue.html.
"""

from datetime import UTC, datetime
from typing import Any, Final

from triage.domain.answers import AnsweredPhoto, ModelVerdict, RequestAnswer
from triage.domain.messages import Origin
from triage.domain.photos import Finding
from worker.fhir import terms
from worker.fhir.references import target_of

Resource = dict[str, Any]

_DERIVABLE: Final = frozenset({"DocumentReference", "Media"})
"""The types of photos that `Observation.derivedFrom` may name."""
_PRODUCT: Final = "skin-photo-triage"


def observation(photo: AnsweredPhoto, message: str, origin: Origin | None) -> Resource:
    """The verdict on a photo. A photo that could not be read has a reason instead of a value.

    Args:
        photo: with its verdict or error code.
        message: the reference of the message.
        origin: what the message refers to.
    """
    verdict = photo.verdict
    return _without_empty(
        {
            "resourceType": "Observation",
            "meta": {
                "profile": [terms.VERDICT_PROFILE],
                "security": [_coding(terms.SECURITY_VALUE, "AIAST")] if verdict else [],
            },
            "identifier": [
                {"system": terms.PHOTO_ID, "value": str(photo.id)},
                {"system": terms.VERDICT_ID, "value": _verdict_id(photo)},
            ],
            "status": "final",
            "category": [_concept(terms.OBSERVATION_CATEGORY, "imaging")],
            "code": _concept(terms.PHOTO_QUALITY, "photo-quality") | {"text": "Quality of a skin photo"},
            "subject": _reference(origin.subject if origin else None),
            "encounter": _reference(origin.encounter if origin else None),
            **_source_of(photo, message),
            "issued": _instant(verdict.at if verdict else photo.at),
            "device": _model(verdict) if verdict else None,
            **(_value(verdict) if verdict else {"dataAbsentReason": _absent(photo)}),
        }
    )


def communication_request(request: RequestAnswer) -> Resource:
    """The request to ask the patient for new photos, with the text for the patient. Withdrawn, it is
    `revoked`; answered, `completed`.
    """
    origin, reply = request.origin, request.reply
    return _without_empty(
        {
            "resourceType": "CommunicationRequest",
            "meta": {"profile": [terms.REQUEST_PROFILE]},
            "language": reply.locale if reply else None,
            "identifier": [{"system": terms.REQUEST_ID, "value": str(request.id)}],
            "basedOn": [_reference(request.message)] if target_of(request.message, base="") else [],
            "status": _status(request),
            "category": [_concept(terms.COMMUNICATION_CATEGORY, "instruction")],
            "priority": "routine",
            "subject": _reference(origin.subject if origin else None),
            "encounter": _reference(origin.encounter if origin else None),
            "payload": [{"contentString": reply.text}] if reply else [],
            "authoredOn": _instant(request.at),
            "requester": {"type": "Device", "display": _PRODUCT},
            "recipient": [_reference(origin.author)] if origin and origin.author else [],
        }
    )


def _status(request: RequestAnswer) -> str:
    if request.is_answered:
        return "completed"
    return "revoked" if request.is_withdrawn else "active"


def identifier_query(resource: Resource) -> str:
    """A search that finds a resource by its first identifier, which never changes."""
    identifier = resource["identifier"][0]
    return f"identifier={identifier['system']}|{identifier['value']}"


def supersedes(resource: Resource, stored: Resource) -> bool:
    """Whether an observation is about a later verdict than the stored one.

    Ids of verdicts sort by time. A photo without a verdict can get one later, never the reverse.
    """
    return _rank(resource) > _rank(stored)


def _rank(resource: Resource) -> tuple[bool, str]:
    identifiers = resource.get("identifier", [])
    id_ = next((str(each.get("value")) for each in identifiers if each.get("system") == terms.VERDICT_ID), "")
    return ":" not in id_ and bool(id_), id_


def amended(stored: Resource, resource: Resource) -> Resource:
    """The observation with a new verdict, in place of the stored one."""
    return resource | {"id": stored["id"], "status": "amended"}


def _verdict_id(photo: AnsweredPhoto) -> str:
    """The id of the verdict; without one, the id of the photo and the reason, which contains a colon."""
    return str(photo.verdict.id) if photo.verdict else f"{photo.id}:{photo.error_code or 'unknown'}"


def _value(verdict: ModelVerdict) -> Resource:
    code = "acceptable" if verdict.acceptable else "unacceptable"
    return {
        "valueCodeableConcept": _concept(terms.PHOTO_VERDICT, code),
        "component": [
            {
                "code": _concept(terms.PHOTO_QUALITY, "score"),
                "valueQuantity": _share(verdict.score),
                "referenceRange": [{"low": _share(verdict.threshold)}],
            },
            {"code": _concept(terms.PHOTO_QUALITY, "grade"), "valueInteger": verdict.grade},
            *map(_finding, verdict.findings),
        ],
    }


def _finding(finding: Finding) -> Resource:
    return {
        "code": _concept(terms.PHOTO_QUALITY, finding.kind),
        "valueCodeableConcept": _concept(terms.FINDING_LEVEL, finding.level),
    }


def _absent(photo: AnsweredPhoto) -> Resource:
    return _concept(terms.DATA_ABSENT_REASON, "error") | {"text": str(photo.error_code or "unknown")}


def _source_of(photo: AnsweredPhoto, message: str) -> Resource:
    """The photo, if it is a resource that an observation can be derived from; otherwise the message that holds it."""
    parts = photo.external_id.split("/")
    if len(parts) >= 2 and parts[0] in _DERIVABLE and target_of("/".join(parts[:2]), base=""):
        return {"derivedFrom": [{"reference": "/".join(parts[:2])}]}
    return {"focus": [_reference(message)]} if target_of(message, base="") else {}


def _model(verdict: ModelVerdict) -> Resource:
    """A logical reference: the server needs no Device of this product."""
    return {
        "type": "Device",
        "identifier": {"system": terms.MODEL_ID, "value": verdict.weights_sha256},
        "display": f"{_PRODUCT} {verdict.model}",
    }


def _share(value: float) -> Resource:
    return {"value": round(value, 6), "unit": "1", "system": terms.UCUM, "code": "1"}


def _concept(system: str, code: str) -> Resource:
    return {"coding": [_coding(system, code)]}


def _coding(system: str, code: str) -> Resource:
    return {"system": system, "code": str(code).replace("_", "-")}


def _reference(target: str | None) -> Resource | None:
    return {"reference": target} if target else None


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _without_empty(resource: Resource) -> Resource:
    """FHIR allows neither null nor empty lists and objects."""
    kept = {key: _without_empty(value) if isinstance(value, dict) else value for key, value in resource.items()}
    return {key: value for key, value in kept.items() if value not in (None, [], {})}
