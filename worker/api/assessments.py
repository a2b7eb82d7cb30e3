"""The endpoint that checks a photo before it is sent."""

from contextlib import ExitStack
from functools import partial
from typing import Final

from triage.domain.assessments import PhotoAnswer
from triage.domain.scopes import Scope
from triage.domain.text import UNDETERMINED, check_locale
from triage.errors import ServiceUnavailableError, UsageError
from triage.files.received import ReceivedBytes
from triage.replies.choice import choose_reasons
from worker.api.door import media_type
from worker.api.endpoint import Call, Endpoints
from worker.api.forms import read_form
from worker.api.metrics import ASSESSMENTS
from worker.api.problems import RequestError
from worker.api.waiting import wait_until
from worker.codes import Code
from worker.documents.assessments import AssessmentDocument, AssessmentForm

ASSESSED: Final = Endpoints("assessments")
_FORM: Final = "multipart/form-data"
_LOCALE_PART: Final = "locale"
_MAX_LOCALE_BYTES: Final = 64


@ASSESSED.endpoint("POST", "/v1/assessments", scope=Scope.PHOTOS_ASSESS, bodies={_FORM: AssessmentForm})
async def assess_photo(call: Call) -> AssessmentDocument:
    """Check a photo before it is sent. Workers take it before all messages, and it is deleted with the answer."""
    if media_type(call.request.headers) != _FORM:
        raise RequestError(Code.UNSUPPORTED_TYPE, f"the body is not {_FORM}: set Content-Type accordingly")
    with ExitStack() as stack:
        form = await read_form(
            call.request,
            stack,
            text_part=_LOCALE_PART,
            max_text=_MAX_LOCALE_BYTES,
            max_photos=1,
            receive=call.services.intake.receive,
        )
        if not form.photos:
            raise UsageError("invalid form: it has no photo")
        locale = check_locale(UNDETERMINED if form.text is None else form.text.decode("utf-8", "replace"))
        answer = await _answer(call, form.photos[0].data)
    catalogue = call.services.settings.catalogue
    tip = None if answer.acceptable else catalogue.tip(choose_reasons(answer.reasons), locale)
    ASSESSMENTS.labels(_outcome(answer)).inc()
    return AssessmentDocument.of(answer, tip)


async def _answer(call: Call, photo: ReceivedBytes) -> PhotoAnswer:
    """
    Raises:
        ServiceUnavailableError: no worker answered in time, or too many photos wait.
    """
    assessments, settings = call.services.assessments, call.services.settings
    if photo.size > settings.intake.max_bytes:
        raise RequestError(Code.TOO_LARGE, f"the photo has more than {settings.intake.max_bytes:,} bytes")
    try:
        id_ = await call.run(partial(assessments.submit, photo))
        try:
            answer = await wait_until(
                call,
                id_,
                partial(call.run, partial(assessments.answer_to, id_)),
                is_done=lambda answer: answer is not None,
                seconds=settings.api.assessment_seconds,
                at_least_every=1,
            )
        finally:
            await call.run(partial(assessments.finish, id_))
        if answer is None or not answer.is_final:
            raise ServiceUnavailableError("no worker has assessed the photo in time: retry")
    except ServiceUnavailableError:
        ASSESSMENTS.labels("unanswered").inc()
        raise
    return answer


def _outcome(answer: PhotoAnswer) -> str:
    if answer.score is None:
        return "not_assessable"
    return "acceptable" if answer.acceptable else "unacceptable"
