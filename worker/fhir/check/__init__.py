"""What an EHR's FHIR server supports, before going live: `triage fhir check`."""
