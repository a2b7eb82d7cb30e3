"""The own account, and the accounts of all for administrators."""

from typing import Final

from starlette.responses import Response

from triage.domain.staff import RIGHTS, Right
from triage.staff import accounts
from worker.console.page import Pages, Visit, template

ACCOUNT_PAGES: Final = Pages()

_ACCOUNT: Final = template("account.html")
_STAFF: Final = template("staff.html")


@ACCOUNT_PAGES.page("GET", "/account", right=Right.SEE)
def show_account(visit: Visit) -> Response:
    """Who is logged in, and what the role allows."""
    rights = [right for right in Right if right in RIGHTS[visit.staff.role]]
    return visit.render(_ACCOUNT, rights=rights)


@ACCOUNT_PAGES.page("GET", "/staff", right=Right.ADMINISTER)
def show_staff(visit: Visit) -> Response:
    """All accounts."""
    return visit.render(_STAFF, members=accounts.list_accounts(visit.services.sessions))


@ACCOUNT_PAGES.page("POST", "/staff/end-sessions", right=Right.ADMINISTER)
def end_sessions(visit: Visit) -> Response:
    """Ends the sessions of an account."""
    accounts.end_sessions(visit.services.sessions, visit.field("name"), by=visit.staff.actor)
    return visit.redirect("/staff")
