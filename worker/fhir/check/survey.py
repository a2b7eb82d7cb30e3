"""Surveys the EHR's FHIR server, or one that may become it, before going live."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import httpx2

from triage.domain.abilities import Ability, Support, Survey
from triage.errors import TriageError, UsageError
from worker.fhir.check.abilities import CURSORS, Statement, abilities_of, fitting_settings, scopes_of, tokens_of
from worker.fhir.reading.inbound import Inbound
from worker.fhir.server.client import Anonymous, FhirClient
from worker.fhir.server.connection import open_http, tokens_for
from worker.fhir.server.errors import FhirRefusedError, FhirUnavailableError, NotThereError, RejectedError
from worker.fhir.server.smart import Configuration, SmartTokens, discover
from worker.setting_groups import FhirSettings


def survey(settings: FhirSettings, inbound: Inbound | None, url: str | None = None) -> Survey:
    """Asks a FHIR server what it supports. Nothing is changed on it.

    Args:
        settings: whose time limit, authority, queries and scopes are used.
        inbound: of the server of the settings, if they name one.
        url: the base of a server; by default, and if it is that of the settings, the server of the settings. To no
            other server a token or the name of this client is sent.

    Raises:
        UsageError: no server is given, or none serves FHIR at this address.
        FhirUnavailableError: it does not answer.
    """
    base = url or settings.url
    if base is None:
        raise UsageError("no FHIR server is configured: give the URL of one")
    with open_http(settings) as http:
        tokens = tokens_for(settings, http) if base == settings.url else None
        statement = Statement(_capabilities(http, base, tokens))
        configuration, found = _discover(http, base)
        abilities = [*abilities_of(statement, settings), *found]
        if configuration is not None:
            abilities += tokens_of(configuration, tokens.algorithm if tokens else None)
        abilities += _tokens(tokens, inbound, settings)
    return Survey(base, abilities, fitting_settings(statement, configuration, settings))


def _capabilities(http: httpx2.Client, base: str, tokens: SmartTokens | None) -> Mapping[str, Any]:
    """The statement, which servers show without a token as a rule."""
    try:
        try:
            return FhirClient(http, base, Anonymous()).capabilities()
        except FhirRefusedError:
            if tokens is None:
                raise
            return FhirClient(http, base, tokens).capabilities()
    except NotThereError as error:
        raise UsageError("no FHIR server is at this address: give the base, below which /metadata is") from error
    except RejectedError as error:
        raise UsageError(
            f"the server does not show what it supports (status {error.status}): give the base of a FHIR server"
        ) from error


def _discover(http: httpx2.Client, base: str) -> tuple[Configuration | None, list[Ability]]:
    name = "SMART configuration"
    try:
        return discover(http, base), [Ability(name, Support.YES, is_needed=True)]
    except FhirUnavailableError:
        raise
    except FhirRefusedError:
        remedy = "ask for SMART Backend Services: tokens are asked for at the address that it names"
        return None, [Ability(name, Support.NO, is_needed=True, remedy=remedy)]


def _tokens(tokens: SmartTokens | None, inbound: Inbound | None, settings: FhirSettings) -> Iterator[Ability]:
    if tokens is None:
        remedy = "set TRIAGE_FHIR__URL, TRIAGE_FHIR__CLIENT_ID and TRIAGE_FHIR__KEY_FILE to try"
        yield Ability("token", Support.UNKNOWN, detail="not asked for", remedy=remedy)
        return
    try:
        granted = tokens.granted()
    except FhirRefusedError:
        remedy = "register the client id, its public key and the scopes at the EHR"
        yield Ability("token", Support.NO, is_needed=True, detail="refused", remedy=remedy)
        return
    yield Ability("token", Support.YES, is_needed=True)
    yield scopes_of(granted, settings)
    if inbound is not None:
        yield _reading(inbound) if settings.poll_query is None else _configured_search(inbound)


def _reading(inbound: Inbound) -> Ability:
    name = "read of a message"
    try:
        inbound.check_rights()
    except FhirRefusedError:
        remedy = "ask the operators of the EHR to permit this client to read Communication"
        return Ability(name, Support.NO, is_needed=True, detail="refused", remedy=remedy)
    return Ability(name, Support.YES, is_needed=True, detail="permitted")


def _configured_search(inbound: Inbound) -> Ability:
    name = "configured search"
    try:
        is_ignored = inbound.ignores_cursor()
    except FhirUnavailableError:
        raise
    except FhirRefusedError:
        remedy = "ask the operators of the EHR to permit this client to search for Communication"
        return Ability(name, Support.NO, is_needed=True, detail="refused", remedy=remedy)
    except TriageError:
        remedy = "correct TRIAGE_FHIR__POLL_QUERY and TRIAGE_FHIR__POLL_CURSOR"
        return Ability(name, Support.NO, is_needed=True, detail="rejected", remedy=remedy)
    if is_ignored:
        found = _applied_cursor(inbound)
        remedy = (
            f"set TRIAGE_FHIR__POLL_CURSOR={found}" if found else "unset TRIAGE_FHIR__POLL_QUERY: use a subscription"
        )
        return Ability(name, Support.NO, is_needed=True, detail=f"{inbound.cursor} is ignored", remedy=remedy)
    return Ability(name, Support.YES, is_needed=True, detail="accepted")


def _applied_cursor(inbound: Inbound) -> str | None:
    """Another cursor that the server does not ignore."""
    for each in CURSORS:
        with suppress(NotThereError, RejectedError):
            if each != inbound.cursor and not replace(inbound, cursor=each).ignores_cursor():
                return each
    return None
