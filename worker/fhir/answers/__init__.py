"""Answers to the EHR: verdicts and retake requests as FHIR resources, and who writes them to its server."""
