"""FHIR R4 (4.0.1), JSON only: photos arrive as a patient's Communication, verdicts and retake requests go back."""
