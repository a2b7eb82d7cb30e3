"""The EHR's FHIR server: requests to it, its tokens, what it answers, and photos that lie there."""
