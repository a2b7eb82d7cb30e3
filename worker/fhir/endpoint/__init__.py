"""This product as a FHIR server: messages that clients push, and what it publishes."""
