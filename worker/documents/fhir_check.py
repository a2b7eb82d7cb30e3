"""What an EHR's FHIR server supports, as `triage fhir check` prints it."""

from typing import Literal, Self

from triage.domain.abilities import Ability, Support, Survey
from worker.documents.document import Document


class FhirAbilityDocument(Document):
    """An ability of a server. `needed`: the settings rely on it. `unknown`: it does not say, or was not asked."""

    name: str
    supported: Support
    needed: bool
    detail: str | None
    remedy: str | None

    @classmethod
    def of(cls, ability: Ability) -> Self:
        return cls(
            name=ability.name,
            supported=ability.support,
            needed=ability.is_needed,
            detail=ability.detail or None,
            remedy=ability.remedy or None,
        )


class SubscriptionDocument(Document):
    """What `triage fhir subscribe` changed. `status_before` is null if there was no subscription."""

    change: Literal["created", "renewed", "updated"]
    status_before: str | None


class FhirCheckDocument(Document):
    """What a server supports, and the settings that fit it, by variable. `ok`: nothing is lacking that is needed."""

    url: str
    ok: bool
    abilities: list[FhirAbilityDocument]
    settings: dict[str, str]

    @classmethod
    def of(cls, survey: Survey) -> Self:
        return cls(
            url=survey.url,
            ok=survey.is_sufficient,
            abilities=[FhirAbilityDocument.of(each) for each in survey.abilities],
            settings=dict(survey.fitting),
        )
