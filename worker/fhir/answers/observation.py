"""The verdict on a photo as an Observation, a plain dictionary.

Sources: https://hl7.org/fhir/R4/observation.html; the security label AIAST (asserted by artificial intelligence) of
https://terminology.hl7.org/CodeSystem-v3-ObservationValue.html.
"""

from typing import Final

from triage.domain.answers import AnsweredPhoto, ModelVerdict
from triage.domain.messages import Origin
from triage.domain.photos import Finding
from worker.fhir import terms
from worker.fhir.parts import PRODUCT, Resource, coding, concept, instant, reference, without_empty
from worker.fhir.references import target_of

_DERIVABLE: Final = frozenset({"DocumentReference", "Media"})
"""The types of photos that `Observation.derivedFrom` may name."""


def observation(photo: AnsweredPhoto, message: str, origin: Origin | None) -> Resource:
    """The verdict on a photo. A photo that could not be read has a reason instead of a value.

    Args:
        photo: with its verdict or error code.
        message: the reference of the message.
        origin: what the message refers to.
    """
    verdict = photo.verdict
    return without_empty(
        {
            "resourceType": "Observation",
            "meta": {
                "profile": [terms.VERDICT_PROFILE],
                "security": [coding(terms.SECURITY_VALUE, "AIAST")] if verdict else [],
            },
            "identifier": [
                {"system": terms.PHOTO_ID, "value": str(photo.id)},
                {"system": terms.VERDICT_ID, "value": _verdict_id(photo)},
            ],
            "status": "final",
            "category": [concept(terms.OBSERVATION_CATEGORY, "imaging")],
            "code": concept(terms.PHOTO_QUALITY, "photo-quality") | {"text": "Quality of a skin photo"},
            "subject": reference(origin.subject if origin else None),
            "encounter": reference(origin.encounter if origin else None),
            **_source_of(photo, message),
            "issued": instant(verdict.at if verdict else photo.at),
            "device": _model(verdict) if verdict else None,
            **(_value(verdict) if verdict else {"dataAbsentReason": _absent(photo)}),
        }
    )


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
        "valueCodeableConcept": concept(terms.PHOTO_VERDICT, code),
        "component": [
            {
                "code": concept(terms.PHOTO_QUALITY, "score"),
                "valueQuantity": _share(verdict.score),
                "referenceRange": [{"low": _share(verdict.threshold)}],
            },
            {"code": concept(terms.PHOTO_QUALITY, "grade"), "valueInteger": verdict.grade},
            *map(_finding, verdict.findings),
        ],
    }


def _finding(finding: Finding) -> Resource:
    return {
        "code": concept(terms.PHOTO_QUALITY, finding.kind),
        "valueCodeableConcept": concept(terms.FINDING_LEVEL, finding.level),
    }


def _absent(photo: AnsweredPhoto) -> Resource:
    return concept(terms.DATA_ABSENT_REASON, "error") | {"text": str(photo.error_code or "unknown")}


def _source_of(photo: AnsweredPhoto, message: str) -> Resource:
    """The photo, if it is a resource that an observation can be derived from; otherwise the message that holds it."""
    parts = photo.external_id.split("/")
    if len(parts) >= 2 and parts[0] in _DERIVABLE and target_of("/".join(parts[:2]), base=""):
        return {"derivedFrom": [{"reference": "/".join(parts[:2])}]}
    return {"focus": [reference(message)]} if target_of(message, base="") else {}


def _model(verdict: ModelVerdict) -> Resource:
    """A logical reference: the server needs no Device of this product."""
    return {
        "type": "Device",
        "identifier": {"system": terms.MODEL_ID, "value": verdict.weights_sha256},
        "display": f"{PRODUCT} {verdict.model}",
    }


def _share(value: float) -> Resource:
    return {"value": round(value, 6), "unit": "1", "system": terms.UCUM, "code": "1"}
