"""States, outcomes and kinds, as they are stored and printed."""

from enum import StrEnum


class AttachmentStatus(StrEnum):
    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    SCORED = "scored"
    NOT_ASSESSABLE = "not_assessable"


class Outcome(StrEnum):
    """The decision about a message. `uncertain` and `not_assessable` go to staff; no outcome holds a message back."""

    PASS = "pass"  # noqa: S105  # an outcome, not a password
    RETAKE = "retake"
    UNCERTAIN = "uncertain"
    NOT_ASSESSABLE = "not_assessable"


class Reason(StrEnum):
    """The reason of an outcome. Stable names: reports and message systems rely on them."""

    PHOTO_PASSED = "photo_passed"
    NO_PHOTO_PASSED = "no_photo_passed"
    NEAR_THRESHOLD = "near_threshold"
    UNREADABLE_PHOTO = "unreadable_photo"
    NO_READABLE_PHOTO = "no_readable_photo"
    REQUEST_LIMIT = "request_limit"
    COOLDOWN = "cooldown"
    IDENTICAL_RESEND = "identical_resend"
    OPTED_OUT = "opted_out"
    OVERRIDE = "override"


class WaitingState(StrEnum):
    """Why a message waits for a person: its decision leaves the next step to people, or its request was appealed."""

    UNCERTAIN = "uncertain"
    NOT_ASSESSABLE = "not_assessable"
    APPEALED = "appealed"


class DecidedBy(StrEnum):
    MODEL = "model"
    RESCORING = "rescoring"
    PERSON = "person"


class VerdictOrigin(StrEnum):
    """The purpose of a verdict. Only verdicts of the inbox decide a message."""

    INBOX = "inbox"
    RESCORING = "rescoring"
    SHADOW = "shadow"


class RetakeStatus(StrEnum):
    FLAGGED = "flagged"
    CLAIMED = "claimed"
    SENT = "sent"
    WITHDRAWN = "withdrawn"


class ArchivedKind(StrEnum):
    """What a report still counts of archived threads, and of purged photos that no message refers to."""

    MESSAGES = "messages"
    OVERRIDES = "overrides"
    FORGOTTEN = "forgotten"
    PHOTOS = "photos"
    ERRORS = "errors"
    REQUESTS = "requests"
    SCORES = "scores"
    SHADOWS = "shadows"
    REASONS = "reasons"
    FLIPS = "flips"
    PURGED = "purged"
    HOURS = "hours"
    DECISION_REASONS = "decision_reasons"
    REVIEWS = "reviews"


class ReviewKind(StrEnum):
    """How a person came to judge a retake request: by an appeal, by a review of a random sample, or by answering an
    appeal.
    """

    APPEAL = "appeal"
    REVIEW = "review"
    RULING = "ruling"


class Fitzpatrick(StrEnum):
    """The skin type of a patient by Fitzpatrick's scale, doi:10.1001/archderm.1988.01670060015008."""

    I = "I"  # noqa: E741  # the name of the type
    II = "II"
    III = "III"
    IV = "IV"
    V = "V"
    VI = "VI"


class Acknowledged(StrEnum):
    """What an acknowledgement of a retake request answers. Unless it is `sent`, the reply must not be sent."""

    SENT = "sent"
    WITHDRAWN = "withdrawn"
    LEASE_LOST = "lease_lost"


class EventKind(StrEnum):
    """Events for other systems. Stable names: receivers rely on them."""

    MESSAGE_DECIDED = "message.decided"
    RETAKE_REQUESTED = "retake.requested"
    RETAKE_WITHDRAWN = "retake.withdrawn"
    RETAKE_ANSWERED = "retake.answered"


class DeliveryStatus(StrEnum):
    """The state of an event on its way to one target. `dead`: all attempts failed, and a person decides."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    DROPPED = "dropped"


class DeliveryError(StrEnum):
    """Why an attempt to deliver an event failed. Stable names: alerts rely on them."""

    ADDRESS_NOT_ALLOWED = "address_not_allowed"
    UNREACHABLE = "unreachable"
    UNTRUSTED_CERTIFICATE = "untrusted_certificate"
    TIMED_OUT = "timed_out"
    CUT_OFF = "cut_off"
    REDIRECTED = "redirected"
    REFUSED = "refused"
    GONE = "gone"
    DEFECT = "defect"


class ArrivalStatus(StrEnum):
    """The state of a message that another system holds and that is read there.

    `ignored`: nothing follows from it, such as a message of staff. `dead`: it cannot be read until it changes there.
    """

    PENDING = "pending"
    DONE = "done"
    IGNORED = "ignored"
    DEAD = "dead"


class ArrivalError(StrEnum):
    """Why a message of another system is dead. Stable names: alerts rely on them."""

    MALFORMED = "malformed"
    REJECTED = "rejected"
    DEFECT = "defect"


class Stage(StrEnum):
    CANDIDATE = "candidate"
    SHADOW = "shadow"
    LIVE = "live"
    RETIRED = "retired"


class RunKind(StrEnum):
    TRAINING = "training"
    RESCORING = "rescoring"


class RunStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Part(StrEnum):
    """A part of the deployment whose progress is monitored."""

    SCORING = "scoring"
    INTAKE = "intake"
    TRAINING = "training"


class FindingKind(StrEnum):
    """Reasons why a photo fails, in terms that a patient can act on. Stable names: reports and replies rely on them.

    `TOO_FAR`, `TOO_CLOSE` and `NO_CLEAR_REASON` come from a model's reason head alone, the others are also measured.
    `BADLY_FRAMED`: the subject is cut off or off the centre. `LOW_RESOLUTION`: few pixels, or strong compression.
    `NO_CLEAR_REASON`: the photo fails and no reason is likely enough to be named.
    """

    DEFOCUS = "defocus"
    MOTION = "motion"
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    LOW_RESOLUTION = "low_resolution"
    COLOUR_CAST = "colour_cast"
    BADLY_FRAMED = "badly_framed"
    NO_SKIN = "no_skin"
    TOO_FAR = "too_far"
    TOO_CLOSE = "too_close"
    NO_CLEAR_REASON = "no_clear_reason"


class FindingLevel(StrEnum):
    MILD = "mild"
    SEVERE = "severe"
