"""FHIR resources as this product's interface takes them."""

from pydantic import BaseModel, ConfigDict, Field


class FhirResource(BaseModel):
    """A resource of FHIR R4 as JSON (https://hl7.org/fhir/R4/)."""

    model_config = ConfigDict(extra="allow")

    resource_type: str = Field(alias="resourceType")
