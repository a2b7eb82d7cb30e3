"""Every page of the staff console, for every role and for a person who is not logged in."""

import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from jinja2 import DictLoader, TemplateNotFound

from tests.support.console import Browser
from triage.domain.ids import new_id
from triage.domain.staff import RIGHTS, Right, Role
from worker.console import page as pages
from worker.console.app import PAGES
from worker.console.page import Page, template

PROTECTED = [page for page in PAGES if page.right is not None]


def ask(browser: Browser, page: Page) -> int:
    path = page.path
    for part in ("message_id", "photo_id", "review_id", "run_id"):
        path = path.replace(f"{{{part}:uuid}}", str(new_id()))
    answer = browser.get(path) if page.method == "GET" else browser.post(path)
    if answer.status_code == 303 and "/login" in answer.headers["location"]:
        return 401
    return answer.status_code


@pytest.mark.parametrize("page", PROTECTED, ids=lambda page: page.name)
def test_page_leads_to_the_login_when_nobody_is_logged_in(page: Page, browser: Callable[[], Browser]) -> None:
    assert ask(browser(), page) == 401


@pytest.mark.parametrize("role", Role)
def test_role_opens_the_pages_of_its_rights_and_no_others(role: Role, logged_in: Callable[..., Browser]) -> None:
    browser = logged_in(role)

    pages = [page for page in PROTECTED if page.name != "log_out"]
    refused = {page.name for page in pages if ask(browser, page) == 403}
    failed = {page.name for page in pages if ask(browser, page) in {401, 405, 500, 503}}

    assert refused == {page.name for page in pages if page.right not in RIGHTS[role]}
    assert failed == set()


def test_unknown_page_has_the_navigation_when_a_person_is_logged_in(
    logged_in: Callable[..., Browser], browser: Callable[[], Browser]
) -> None:
    pages = [opened.get("/nowhere") for opened in (logged_in(Role.READER), browser())]

    assert [page.status_code for page in pages] == [404, 404]
    assert ["<nav" in page.text and "/console/logout" in page.text for page in pages] == [True, False]


def test_every_role_has_the_rights_of_the_one_before() -> None:
    ranked = [RIGHTS[role] for role in Role]
    assert all(lower < higher for lower, higher in pairwise(ranked))
    assert ranked[-1] == frozenset(Right)


def test_pages_stay_as_at_the_start_when_the_templates_change(
    logged_in: Callable[..., Browser], monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = logged_in(Role.ADMINISTRATOR)
    paths = [page.path for page in PROTECTED if page.method == "GET" and "{" not in page.path]
    assert len(paths) > 8

    def fail(*_: object) -> None:
        raise TemplateNotFound("the files are those of another release")

    monkeypatch.setattr(pages._ENVIRONMENT.loader, "get_source", fail)

    assert {path for path in paths if browser.get(path).status_code == 500} == set()


def test_template_fails_at_the_start_when_one_that_it_names_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages._ENVIRONMENT, "loader", DictLoader({"a.html": "{% include 'b.html' %}"}))

    with pytest.raises(TemplateNotFound, match=re.escape("b.html")):
        template("a.html")
    with pytest.raises(TemplateNotFound, match=re.escape("c.html")):
        template("c.html")
