"""Every resource that is written is valid: by @medplum/core with the profiles of this product, and by `fhir` (Lantana).

Each validator finds what the others miss, so each must also find a mistake.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.interop.validators import DEFINITIONS, Resources, profile_problems
from triage.domain.answers import AnsweredPhoto, ModelVerdict, RequestAnswer
from triage.domain.ids import AttachmentId, RetakeRequestId, new_id
from triage.domain.messages import Origin
from triage.domain.photos import Finding
from triage.domain.replies import Reply
from triage.domain.states import FindingKind, FindingLevel
from triage.errors import ErrorCode
from worker.fhir.answers.asking import communication, communication_request, task
from worker.fhir.answers.observation import amended, observation
from worker.fhir.reading.subscription import wanted
from worker.setting_groups import FhirSettings

pytestmark = pytest.mark.long

NOW = datetime(2026, 11, 29, 12, 0, 0, 123456, tzinfo=UTC)
ORIGIN = Origin(subject="Patient/7", author="RelatedPerson/8", encounter="Encounter/9")
Validate = Callable[[Resources], list[list[str]]]


@pytest.fixture
def validate(node: list[str]) -> Validate:
    return partial(profile_problems, node)


def _observations(origin: Origin | None) -> list[dict[str, Any]]:
    findings = tuple(Finding(kind, level, 0.5) for kind in FindingKind for level in FindingLevel)
    found = []
    for acceptable in (True, False):
        verdict = ModelVerdict(new_id(), 0.25, 0.5, acceptable, 3, findings, "starter", "a" * 64, NOW)
        photo = AnsweredPhoto(AttachmentId(new_id()), "Media/1", verdict, None, NOW)
        found.append(observation(photo, "Communication/m-1", origin))
    unread = AnsweredPhoto(AttachmentId(new_id()), "payload/0", None, ErrorCode.CORRUPT, NOW)
    return [*found, amended({"id": "7"}, found[0]), observation(unread, "Communication/m-1", origin)]


def _requests(origin: Origin | None, reply: Reply | None) -> list[dict[str, Any]]:
    found = []
    for withdrawn, answered in ((False, False), (True, False), (True, True)):
        id_ = RetakeRequestId(new_id())
        request = RequestAnswer(
            id_, "Communication/m-1", "Communication/m-0", origin, reply, withdrawn, NOW, is_answered=answered
        )
        found += [communication_request(request), communication(request)]
        found.append(task(request, focus="CommunicationRequest/1", owner="Organization/7"))
    return found


def _subscriptions() -> list[dict[str, Any]]:
    hook = {"hook_url": "https://triage.example.org/fhir-hook", "hook_key": SecretStr("key")}
    settings = FhirSettings(url="https://ehr.example/fhir", client_id="triage", key_file=Path("key.pem"), **hook)
    by_topic = settings.model_copy(update={"hook_topic": "https://ehr.example/topic"})
    return [wanted(settings), wanted(by_topic)]


def test_all_that_is_written_and_shipped_is_valid(validate: Validate) -> None:
    reply = Reply("es", "1", "Fotos nuevas", "Mande fotos nuevas.")
    resources = [
        *(each for origin in (ORIGIN, None) for each in _observations(origin)),
        *_requests(ORIGIN, reply),
        *_requests(None, None),
        *_subscriptions(),
        *DEFINITIONS,
    ]

    assert [problems for problems in validate(resources) if problems] == []


def test_mistakes_are_found(validate: Validate) -> None:
    [request, message, work, *_] = _requests(ORIGIN, Reply("en", "1", "New photos", "Please."))
    [verdict, *_] = _observations(ORIGIN)
    mistakes = {
        "required binding": request | {"status": "sent"},
        "unknown element": message | {"colour": "red"},
        "own profile, identifier": {key: value for key, value in request.items() if key != "identifier"},
        "own profile, category": {key: value for key, value in message.items() if key != "category"},
        "own profile, code": work | {"code": {"text": "x"}},
        "own profile, focus": {key: value for key, value in work.items() if key != "focus"},
        "invariant obs-6": verdict | {"dataAbsentReason": {"text": "x"}},
    }

    found = dict(zip(mistakes, validate(list(mistakes.values())), strict=True))

    assert [name for name, problems in found.items() if not problems] == []
