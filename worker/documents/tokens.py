"""Access tokens of this server: SMART Backend Services 2.2 (OAuth 2.0, RFC 6749, RFC 7523)."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from worker.documents.document import Document

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class TokenRequest(BaseModel):
    """A form. Other fields have no effect, as OAuth requires."""

    model_config = ConfigDict(hide_input_in_errors=True)

    grant_type: str = Field(description="client_credentials")
    client_assertion_type: str = Field(description=ASSERTION_TYPE)
    client_assertion: str = Field(description="a JWT that the client has signed with RS384 or ES384")
    scope: str | None = Field(default=None, description="scopes, separated by spaces; by default all of the client")


class TokenDocument(Document):
    """An access token, and the scopes that it carries."""

    access_token: str
    token_type: Literal["bearer"]
    expires_in: int
    scope: str


class TokenErrorDocument(Document):
    """Why there is no token (RFC 6749, 5.2)."""

    error: Literal["invalid_request", "invalid_client", "unsupported_grant_type", "invalid_scope"]
    error_description: str


class SmartConfigurationDocument(Document):
    """What the token endpoint supports (SMART App Launch 2.2)."""

    token_endpoint: str
    token_endpoint_auth_methods_supported: list[str]
    token_endpoint_auth_signing_alg_values_supported: list[str]
    grant_types_supported: list[str]
    scopes_supported: list[str]
    capabilities: list[str]
