"""The connection to the EHR's FHIR server that the settings name."""

import ssl
from typing import Final

import httpx2

from triage.errors import Fault
from worker.fhir.server.client import FhirClient
from worker.fhir.server.errors import FhirRefusedError
from worker.fhir.server.smart import SmartTokens, read_key
from worker.setting_groups import FhirSettings

_AT_ONCE: Final = 16


def connect(settings: FhirSettings) -> FhirClient:
    """Makes a client of the server that the settings name. It asks for its first token with its first request.

    Raises:
        FhirRefusedError: a file cannot be read.
        UsageError: the key is not usable.
    """
    http = open_http(settings)
    tokens = tokens_for(settings, http)
    return FhirClient(http, tokens.base, tokens)


def open_http(settings: FhirSettings) -> httpx2.Client:
    """Makes an HTTP client with the time limit and the authorities of the settings. It follows no redirect.

    Raises:
        FhirRefusedError: the file of the authority cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ValueError) as error:
        raise FhirRefusedError(
            "the certificate file for the FHIR server cannot be read: check its path and its owner", Fault.SETTING
        ) from error
    return httpx2.Client(
        timeout=settings.timeout_seconds,
        follow_redirects=False,
        verify=context,
        limits=httpx2.Limits(max_connections=_AT_ONCE, max_keepalive_connections=_AT_ONCE),
        headers={"User-Agent": "skin-photo-triage"},
    )


def tokens_for(settings: FhirSettings, http: httpx2.Client) -> SmartTokens:
    """The access tokens for the server that the settings name. None is asked for yet.

    Raises:
        FhirRefusedError: no server is named, or the key's file cannot be read.
        UsageError: the key is not usable.
    """
    if settings.url is None or settings.client_id is None or settings.key_file is None:
        raise FhirRefusedError("no FHIR server is configured: set its URL, a client id and a key", Fault.SETTING)
    key = read_key(settings.key_file)
    return SmartTokens(http, settings.url, client_id=settings.client_id, key=key, scopes=settings.scopes)
