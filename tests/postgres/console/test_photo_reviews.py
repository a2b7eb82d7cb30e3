"""Photo reviews in the staff console: what reviewers see, and what stays hidden from them."""

import io
import re
from collections.abc import Callable

import pytest
from PIL import Image
from sqlalchemy import text

from tests.support.console import Browser
from tests.support.scored_photos import send_scored
from triage.domain.card import RegisteredModel
from triage.domain.ids import AttachmentId
from triage.domain.photo_reviews import SamplingRule
from triage.domain.staff import Role
from triage.storage import photo_reviews
from triage.storage.database import Sessions
from worker.tasks.base import WorkerServices

RULE = {"name": "r-1", "size": "10", "days": "30", "order": "random", "seed": "0"}
RULE |= {"votes": "1", "second": "100", "near": "0"}


def jpeg(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (400, 300), (shade, 120, 90)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def photos(services: WorkerServices, sessions: Sessions, live_model: RegisteredModel) -> list[AttachmentId]:
    """Two photos that a model has scored."""
    return send_scored(services, sessions, live_model, [jpeg(50), jpeg(100)])


def vote(browser: Browser, path: str, choice: str, *reasons: str) -> str:
    """Votes on the photo at a path, and returns the path of what follows."""
    answer = browser.post(f"{path}/vote", vote=choice, **{f"reason_{reason}": "1" for reason in reasons})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"].removeprefix("/console")


def start(browser: Browser, review: str) -> str:
    browser.get(review)
    return browser.post(f"{review}/next").headers["location"].removeprefix("/console")


def create(browser: Browser, **changes: str) -> str:
    browser.get("/reviews")
    answer = browser.post("/reviews", **RULE | changes)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"].removeprefix("/console")


def undo(browser: Browser, review: str) -> str:
    """Undoes the vote that the page of the review names, and returns the path of what follows."""
    return undo_vote(browser, review, latest(browser.get(review).text))


def undo_vote(browser: Browser, review: str, vote_id: str) -> str:
    answer = browser.post(f"{review}/undo", vote=vote_id)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"].removeprefix("/console")


def latest(page: str) -> str:
    """The vote that a page offers to undo."""
    found = re.search(r'name="vote" value="([0-9a-f-]{36})"', page)
    assert found is not None
    return found[1]


def votes(sessions: Sessions) -> list[tuple[str, bool, list[str], bool]]:
    with sessions() as session:
        rows = session.execute(text("SELECT actor, good, reasons, withdrawn_at FROM photo_vote ORDER BY id"))
        return [(row.actor, row.good, row.reasons, row.withdrawn_at is not None) for row in rows]


def test_list_of_reviews_goes_on_when_there_are_more_than_a_page_holds(
    logged_in: Callable[..., Browser], sessions: Sessions
) -> None:
    browser = logged_in()
    with sessions.begin() as session:
        for number in range(101):
            photo_reviews.add(session, f"review-{number:03}", SamplingRule(10), by="staff:dr-1")
    shown, path = [], "/reviews"

    while path:
        page = browser.get(path).text
        shown.append(re.findall(r"review-(\d+)<", page))
        path = found[1] if (found := re.search(r'href="/console(/reviews\?before=[^"]+)"', page)) else ""

    assert [len(each) for each in shown] == [50, 50, 1]
    assert [int(number) for each in shown for number in each] == list(range(100, -1, -1))
    assert browser.get("/reviews?before=x").status_code == 400


def test_reviewer_votes_and_undoes_by_plain_forms(
    photos: list[AttachmentId], logged_in: Callable[..., Browser], sessions: Sessions
) -> None:
    browser = logged_in()
    review = create(browser)
    first = start(browser, review)
    assert "0 of 2 photos" in browser.get(first).text

    second = vote(browser, first, "bad", "motion", "too_dark")
    assert "1 of 2 photos" in browser.get(second).text
    assert undo(browser, review) == first
    assert vote(browser, first, "good") == second
    assert vote(browser, first, "good") == second  # a form sent twice
    assert vote(browser, second, "good") == f"{review}?nothing=1"

    assert "No photo waits for your vote now." in browser.get(f"{review}?nothing=1").text
    assert votes(sessions) == [
        ("staff:dr-7", False, ["motion", "too_dark"], True),
        ("staff:dr-7", True, [], False),
        ("staff:dr-7", True, [], False),
    ]


def test_page_of_a_vote_shows_nothing_that_is_known_of_the_photo(
    photos: list[AttachmentId], logged_in: Callable[..., Browser], sessions: Sessions
) -> None:
    other, browser = logged_in(Role.MANAGER, "boss-1"), logged_in()
    review = create(other)
    vote(other, start(other, review), "bad", "motion")
    path = start(browser, review)

    page, image = browser.get(path), browser.get(f"{path}/photo.jpg")

    for secret in ("SECRET", "0.77", "m-1", "m-2", "boss-1", "pass", "retake", *map(str, photos)):
        assert secret not in page.text, secret
    assert image.headers["content-type"] == "image/jpeg"
    with sessions() as session:
        rows = session.execute(
            text("SELECT actor, details->>'attachment' AS photo FROM audit_event WHERE action = 'photo.seen'")
        ).all()
    assert [row.actor for row in rows] == ["staff:dr-7"]
    assert {row.photo for row in rows} < set(map(str, photos))


def test_only_the_page_of_a_vote_allows_a_script(photos: list[AttachmentId], logged_in: Callable[..., Browser]) -> None:
    browser = logged_in()
    review = create(browser)
    path = start(browser, review)

    voting, others = browser.get(path), [browser.get(each) for each in ("/", "/reviews", review, "/account")]

    assert "; script-src 'self'" in voting.headers["content-security-policy"]
    assert re.findall(r"<script[^>]*>", voting.text) == ['<script src="/console/vote.js" defer>']
    assert not re.search(r"\son[a-z]+=|javascript:|<style", voting.text)
    for page in others:
        assert "script" not in page.headers["content-security-policy"]
        assert "<script" not in page.text
    script = browser.get("/vote.js")
    assert (script.status_code, script.headers["content-type"]) == (200, "text/javascript; charset=utf-8")


def test_photo_is_hidden_from_a_person_who_does_not_hold_it(
    photos: list[AttachmentId], logged_in: Callable[..., Browser], sessions: Sessions
) -> None:
    first, second = logged_in(name="dr-1"), logged_in(name="dr-2")
    review = create(first)
    path = start(first, review)
    second.get("/reviews")

    assert second.get(path).status_code == second.get(f"{path}/photo.jpg").status_code == 409
    assert second.post(f"{path}/vote", vote="good").status_code == 409
    assert path not in second.post(f"{path}/skip").headers["location"]  # as after a second click
    assert start(second, review) != path
    assert votes(sessions) == []


def test_skipped_photo_comes_last(photos: list[AttachmentId], logged_in: Callable[..., Browser]) -> None:
    browser = logged_in()
    review = create(browser)
    path = start(browser, review)

    following = browser.post(f"{path}/skip").headers["location"].removeprefix("/console")

    assert following != path
    assert vote(browser, following, "good") == path


def test_agreement_is_shown_to_managers_who_do_not_vote(
    photos: list[AttachmentId], logged_in: Callable[..., Browser], sessions: Sessions
) -> None:
    manager, first, second = logged_in(Role.MANAGER, "boss"), logged_in(name="dr-1"), logged_in(name="dr-2")
    review = create(manager)
    for browser, choices in ((first, ("good", "good")), (second, ("good", "bad"))):
        path = start(browser, review)
        for choice in choices:
            path = vote(browser, path, choice)

    shown = manager.get(review).text
    assert "1 of 2 photos: 50.0 %" in shown
    assert "dr-1, dr-2" in shown
    assert "Agreement" not in first.get(review).text  # no manager
    assert first.post(f"{review}/close").status_code == 403

    vote(manager, start(manager, review), "good")  # the third vote on the photo with two different ones
    assert "The agreement is hidden" in manager.get(review).text
    assert manager.post(f"{review}/close").status_code == 303
    assert "1 of 2 photos: 50.0 %" in manager.get(review).text
    with sessions() as session:
        vote_id = session.execute(text("SELECT id FROM photo_vote WHERE actor = 'staff:dr-1' LIMIT 1")).scalar_one()
    assert "takes no further votes" in first.post(f"{review}/undo", vote=str(vote_id)).text


def test_form_that_arrives_twice_undoes_one_vote(
    photos: list[AttachmentId], logged_in: Callable[..., Browser], sessions: Sessions
) -> None:
    browser, other = logged_in(), logged_in(name="dr-8")
    review = create(browser)
    first = start(browser, review)
    second = vote(browser, first, "good")
    assert vote(browser, second, "good").endswith("nothing=1")
    shown = latest(browser.get(review).text)

    assert undo_vote(browser, review, shown) == second
    assert undo_vote(browser, review, shown) == second

    assert [withdrawn for _, _, _, withdrawn in votes(sessions)] == [False, True]
    assert latest(browser.get(second).text) != shown
    start(other, review)
    for foreign in (shown, "x", str(photos[0])):
        assert other.post(f"{review}/undo", vote=foreign).status_code == 400
    assert browser.post(f"{second}/skip").headers["location"] == browser.post(f"{second}/skip").headers["location"]


def test_counts_of_all_votes_are_hidden_from_people_who_vote_until_the_review_is_closed(
    photos: list[AttachmentId], logged_in: Callable[..., Browser]
) -> None:
    manager, first, second = logged_in(Role.MANAGER, "boss"), logged_in(name="dr-1"), logged_in(name="dr-2")
    review = create(manager)
    vote(first, start(first, review), "good")

    def counts(browser: Browser) -> tuple[list[str], bool]:
        row = re.search(r"<td>2</td>\n<td>(.+)</td>\n<td>(.+)</td>", browser.get("/reviews").text)
        assert row is not None
        return list(row.groups()), "<dt>Done</dt>" in browser.get(review).text

    assert [counts(each) for each in (manager, first, second)] == [(["0", "1"], True), *[(["-", "-"], False)] * 2]
    path = start(manager, review)
    vote(manager, path, "bad")
    undo(manager, review)
    assert counts(manager) == (["-", "-"], False)  # the next vote shall not follow what others think
    assert "Agreement</h2>" not in manager.get(review).text
    manager.post(f"{review}/close")
    assert [counts(each) for each in (manager, first)] == [(["0", "1"], True)] * 2


def test_rule_is_refused_when_the_form_is_malformed(
    photos: list[AttachmentId], logged_in: Callable[..., Browser]
) -> None:
    browser = logged_in()
    browser.get("/reviews")
    wrong = [
        {"size": "many"},
        {"days": "0"},
        {"order": "best"},
        {"near": "nan"},
        {"second": "101"},
        {"votes": "0"},
        {"name": "<b>"},
        {"source": "<script>alert(1)</script>"},
        {"evenly_by": "x"},
        {"seed": "1e3"},
    ]
    for changes in wrong:
        assert browser.post("/reviews", **RULE | changes).status_code == 400, changes
    assert "There is no photo review yet." in browser.get("/reviews").text


def test_skin_types_of_the_form_select_photos(
    photos: list[AttachmentId], logged_in: Callable[..., Browser], sessions: Sessions
) -> None:
    with sessions.begin() as session:
        session.execute(text("UPDATE message SET fitzpatrick = 'V' WHERE external_id = 'm-1'"))
    browser = logged_in()
    shown = browser.get(create(browser, skin_V="1", skin_VI="1")).text
    assert "V, VI" in shown
    assert re.search(r"<dt>Photos</dt><dd>1</dd>", shown)


@pytest.mark.parametrize("is_copy", [False, True])
def test_scores_are_hidden_from_all_who_may_vote_until_the_review_is_closed(
    services: WorkerServices,
    sessions: Sessions,
    live_model: RegisteredModel,
    logged_in: Callable[..., Browser],
    is_copy: bool,
) -> None:
    shades = (50, 100, 50)  # the third photo is a copy of the first one, and not drawn
    photos = send_scored(services, sessions, live_model, [jpeg(shade) for shade in shades])
    with sessions() as session:
        rows = session.execute(text("SELECT id, message_id FROM attachment"))
        messages = {row.id: row.message_id for row in rows}
    photo = photos[2 if is_copy else 0]
    message = f"/messages/{messages[photo]}"
    reader, voter, manager = logged_in(Role.READER, "reader"), logged_in(), logged_in(Role.MANAGER, "boss")
    assert "0.777" in voter.get(message).text
    review = create(manager)

    def sees_score(browser: Browser) -> bool:
        pages = [browser.get(message).text, browser.get(f"{message}/photos/{photo}?map=1").text]
        shown = ["0.777" in page for page in pages]
        assert ["hidden until the review is closed" not in page for page in pages] == shown
        assert ["map.png" in page for page in pages] == [False, shown[1]]
        assert shown[0] == shown[1]
        return shown[0]

    assert [sees_score(each) for each in (reader, voter, manager)] == [True, False, False]
    assert voter.get(f"{message}/photos/{photo}/map.png").headers["content-type"] == "image/svg+xml"
    path = start(voter, review)
    vote(voter, path, "good")
    assert not sees_score(voter)  # the vote can be undone and given again
    manager.get(review)
    assert manager.post(f"{review}/close").status_code == 303
    assert [sees_score(each) for each in (voter, manager)] == [True, True]
