"""What an EHR's FHIR server supports, and which settings fit it. Only reads: nothing is changed on the server.

Sources: https://hl7.org/fhir/R4/capabilitystatement.html, https://hl7.org/fhir/smart-app-launch/backend-services.html.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from triage.domain.abilities import Ability, Support
from worker.fhir.check.scopes import lacking, rights_needed, written, written_types
from worker.fhir.json_parts import dicts_of
from worker.fhir.server.smart import Configuration
from worker.setting_groups import FhirSettings

CURSORS: Final = ("_lastUpdated", "received", "sent")
_PHOTOS: Final = ("Binary", "DocumentReference", "Media")
_JSON: Final = frozenset({"json", "application/json", "application/fhir+json", "application/fhir+json;fhirversion=4.0"})


@dataclass(frozen=True, slots=True)
class Statement:
    """A CapabilityStatement, of which any element may be missing or malformed."""

    resource: Mapping[str, Any]
    _types: Mapping[str, Mapping[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        found = {
            str(each.get("type")): each
            for rest in dicts_of(self.resource, "rest")
            for each in dicts_of(rest, "resource")
        }
        object.__setattr__(self, "_types", found)

    @property
    def version(self) -> str:
        return _word(self.resource.get("fhirVersion"))

    @property
    def formats(self) -> set[str]:
        found = self.resource.get("format")
        return {str(each).lower().replace(" ", "") for each in found} if isinstance(found, list) else set()

    def can(self, kind: str, interaction: str) -> Support:
        """Whether an interaction such as `search-type` is stated for a type of resource."""
        if not self._types:
            return Support.UNKNOWN
        codes = {each.get("code") for each in dicts_of(self._types.get(kind, {}), "interaction")}
        return Support.YES if interaction in codes else Support.NO

    def creates_conditionally(self, kind: str) -> Support:
        stated = self._types.get(kind, {}).get("conditionalCreate")
        return Support.UNKNOWN if stated is None else Support.YES if stated is True else Support.NO

    def parameters(self, kind: str) -> set[str]:
        """The search parameters of a type."""
        rests = dicts_of(self.resource, "rest")
        common = (each for rest in rests for each in dicts_of(rest, "searchParam"))
        return {str(each.get("name")) for each in (*common, *dicts_of(self._types.get(kind, {}), "searchParam"))}


def abilities_of(statement: Statement, settings: FhirSettings) -> Iterator[Ability]:
    """What the CapabilityStatement says of the abilities that this product can use."""
    is_r4 = statement.version.startswith("4.0")
    yield Ability(
        "FHIR R4",
        Support.YES if is_r4 else Support.NO,
        is_needed=True,
        detail=statement.version or "no version stated",
        remedy="" if is_r4 else "set TRIAGE_FHIR__URL to the base of the R4 version (4.0.1)",
    )
    has_json = not statement.formats or statement.formats & _JSON
    yield Ability("JSON", Support.YES if has_json else Support.NO, is_needed=True)
    yield _interaction(statement, "Communication", "read", is_needed=True)
    for kind in _PHOTOS:
        yield _interaction(statement, kind, "read", detail="photos in messages")
    yield from _search(statement, settings)
    hooks = settings.hook_url is not None
    yield _interaction(statement, "Subscription", "create", is_needed=hooks, detail="notifies of messages at once")
    for kind in written_types(settings):
        yield _interaction(statement, kind, "create", is_needed=settings.answers, detail="answers")
        yield _interaction(
            statement, kind, "update", is_needed=settings.answers, detail="changes of answers, such as revoked requests"
        )
        yield _conditional(statement, kind, settings)
    yield _interaction(
        statement, "CommunicationRequest", "read", is_needed=settings.answers, detail="answers of patients"
    )


def _interaction(
    statement: Statement, kind: str, interaction: str, *, is_needed: bool = False, detail: str = ""
) -> Ability:
    support = statement.can(kind, interaction)
    remedy = f"ask the operators of the EHR for {interaction} of {kind}" if support is Support.NO and is_needed else ""
    return Ability(f"{kind} {interaction}", support, is_needed, detail, remedy)


def _conditional(statement: Statement, kind: str, settings: FhirSettings) -> Ability:
    support = statement.creates_conditionally(kind)
    return Ability(
        f"{kind} create with If-None-Exist",
        support,
        is_needed=settings.answers,
        detail="a repeat after a fault makes no second one",
        remedy="without it, a fault can leave a second resource: ask for it" if support is not Support.YES else "",
    )


def _search(statement: Statement, settings: FhirSettings) -> Iterator[Ability]:
    searches = settings.poll_query is not None
    support = statement.can("Communication", "search-type")
    yield Ability(
        "Communication search",
        support,
        is_needed=searches,
        detail="finds messages of which the server did not tell",
        remedy="unset TRIAGE_FHIR__POLL_QUERY and use a subscription" if searches and support is Support.NO else "",
    )
    known = statement.parameters("Communication")
    used = [settings.poll_cursor, *_parameters(settings.poll_query or "")]
    for name in dict.fromkeys(used):
        is_stated = name in known
        yield Ability(
            f"Communication search by {name}",
            Support.YES if is_stated else Support.UNKNOWN if not known or name.startswith("_") else Support.NO,
            is_needed=searches,
            detail="the cursor" if name == settings.poll_cursor else "in the query",
            remedy="" if is_stated else f"stated are {', '.join(sorted(known))}" if known else "",
        )


def tokens_of(configuration: Configuration, algorithm: str | None) -> Iterator[Ability]:
    """What the SMART configuration says. A list that is empty is not stated.

    Args:
        configuration: of the server.
        algorithm: of our key; None if there is no key yet.
    """
    methods = configuration.token_endpoint_auth_methods_supported
    yield Ability(
        "SMART Backend Services",
        Support.UNKNOWN if not methods else Support.YES if "private_key_jwt" in methods else Support.NO,
        is_needed=True,
        detail="private_key_jwt",
    )
    algorithms = set(configuration.token_endpoint_auth_signing_alg_values_supported)
    fitting = algorithms & ({algorithm} if algorithm else {"RS384", "ES384"})
    kinds = {"ES384": "an EC key on P-384", "RS384": "an RSA key"}
    known = ", ".join(kinds[each] for each in sorted(algorithms & kinds.keys()))
    yield Ability(
        f"signatures by {algorithm}" if algorithm else "signatures by RS384 or ES384",
        Support.UNKNOWN if not algorithms else Support.YES if fitting else Support.NO,
        is_needed=True,
        remedy=f"set TRIAGE_FHIR__KEY_FILE to {known}" if algorithms and not fitting and known else "",
    )


def scopes_of(granted: Iterable[str], settings: FhirSettings) -> Ability:
    """Whether the scopes of a token are all that the settings need."""
    missing = lacking(list(granted), rights_needed(settings))
    return Ability(
        "scopes granted",
        Support.NO if missing else Support.YES,
        is_needed=True,
        detail=f"missing: {' '.join(missing)}" if missing else "all that the settings need",
        remedy="add them to TRIAGE_FHIR__SCOPES and to the registration at the EHR" if missing else "",
    )


def fitting_settings(
    statement: Statement, configuration: Configuration | None, settings: FhirSettings
) -> dict[str, str]:
    """The settings that fit a server, by variable."""
    searches = statement.can("Communication", "search-type") is Support.YES
    known = statement.parameters("Communication")
    kinds = written_types(settings)
    answers = all(
        statement.can(kind, each) is Support.YES for kind in kinds for each in ("create", "update")
    ) and not any(statement.creates_conditionally(kind) is Support.NO for kind in kinds)
    fitting = {"TRIAGE_FHIR__ANSWERS": str(answers).lower()}
    if searches:
        fitting["TRIAGE_FHIR__POLL_QUERY"] = settings.poll_query or "Communication"
        fitting["TRIAGE_FHIR__POLL_CURSOR"] = next((each for each in CURSORS if each in known), CURSORS[0])
    capabilities = configuration.capabilities if configuration else []
    version = 2 if "permission-v2" in capabilities and "permission-v1" not in capabilities else 1
    planned = settings.model_copy(update={"answers": answers, "poll_query": fitting.get("TRIAGE_FHIR__POLL_QUERY")})
    return fitting | {"TRIAGE_FHIR__SCOPES": written(rights_needed(planned), version=version)}


def _parameters(query: str) -> list[str]:
    """The names of search parameters in a query, without modifiers and chains."""
    names = (part.partition("=")[0] for part in query.partition("?")[2].split("&") if part)
    return [re.split(r"[:.]", name)[0] for name in names]


def _word(value: object) -> str:
    return value if isinstance(value, str) and re.fullmatch(r"[!-~]{1,64}", value) else ""
