"""Identifiers of this product in FHIR: code systems, profiles and systems of identifiers.

They are names that stay the same in every hospital, not addresses: nothing is served there. The files in
`worker/fhir/endpoint/definitions/` define the codes and profiles.
"""

from typing import Final

CANONICAL: Final = "https://skin-photo-triage.example/fhir"

PHOTO_QUALITY: Final = f"{CANONICAL}/CodeSystem/photo-quality"
"""What is observed: the quality as a whole, its parts, and the findings that explain it."""
PHOTO_VERDICT: Final = f"{CANONICAL}/CodeSystem/photo-verdict"
FINDING_LEVEL: Final = f"{CANONICAL}/CodeSystem/finding-level"
ERROR_CODE: Final = f"{CANONICAL}/CodeSystem/error-code"
"""Why a request failed, in an OperationOutcome."""

VERDICT_PROFILE: Final = f"{CANONICAL}/StructureDefinition/photo-verdict"
PATIENT_MESSAGE_PROFILE: Final = f"{CANONICAL}/StructureDefinition/patient-message"
REQUEST_PROFILE: Final = f"{CANONICAL}/StructureDefinition/retake-request"
TASK_PROFILE: Final = f"{CANONICAL}/StructureDefinition/retake-task"
MESSAGE_PROFILE: Final = f"{CANONICAL}/StructureDefinition/retake-message"

PHOTO_ID: Final = f"{CANONICAL}/identifier/photo"
VERDICT_ID: Final = f"{CANONICAL}/identifier/verdict"
REQUEST_ID: Final = f"{CANONICAL}/identifier/retake-request"
MODEL_ID: Final = f"{CANONICAL}/identifier/model"

OBSERVATION_CATEGORY: Final = "http://terminology.hl7.org/CodeSystem/observation-category"
COMMUNICATION_CATEGORY: Final = "http://terminology.hl7.org/CodeSystem/communication-category"
TASK_CODE: Final = "http://hl7.org/fhir/CodeSystem/task-code"
DATA_ABSENT_REASON: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
SECURITY_VALUE: Final = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"
UCUM: Final = "http://unitsofmeasure.org"
