"""Messages on the EHR's FHIR server: how they are announced, searched and read."""
