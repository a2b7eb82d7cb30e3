"""Verification of the audit trail."""

from triage.domain.audit import Anchor, Verification
from triage.storage import audit
from triage.storage.database import Sessions
from triage.storage.use_case import use_case


@use_case
def verify_audit_trail(sessions: Sessions, anchor: Anchor | None = None) -> Verification:
    """Reads the whole chain of hashes and finds changed, missing, reordered and cut-off events.

    The owner of the tables can write a new, consistent chain; only comparison with an anchor detects that.

    Args:
        sessions: of any role.
        anchor: a head of the chain that was recorded outside the database before.
    """
    with sessions() as session:
        return audit.verify(session, anchor)
