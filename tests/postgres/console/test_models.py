"""Models in the console: what they score, where a shadow disagrees, and promotion after a confirmation."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.clinic import Clinic, WithShadow
from tests.support.console import Browser
from triage.domain.card import Card, RegisteredModel, card_json
from triage.domain.ids import ModelVersionId
from triage.domain.staff import Role
from triage.domain.states import Stage
from triage.scoring.drain import DrainLimits, drain
from triage.storage import model_versions as models

EVIL = "<script>alert(1)</script>{{7*7}}"
SHA256 = "1" * 64
METRICS = {"test": {"auc": {"value": 0.87}, "note": EVIL, "n_good": 20, "n_bad": 20}}


def add_model(clinic: Clinic, name: str = "newer", sha256: str = SHA256, **fields: Any) -> ModelVersionId:
    with clinic.sessions.begin() as session:
        live = models.live(session)
        assert live is not None
        changes = {"name": name, "weights_sha256": sha256, "metrics": METRICS, "licence_notes": EVIL, **fields}
        return models.add(session, Card.model_validate(card_json(live.card) | changes))[0].id


def score_with_shadow(clinic: Clinic, shadow: ModelVersionId) -> None:
    """Two requests by the live model, one by its shadow."""
    clinic.send("good", "a/0.9")
    clinic.send("bad", "b/0.2")
    clinic.send("worse", "c/0.1")
    drain(clinic.inbox, lambda: WithShadow(clinic.assessor, shadow), DrainLimits(photos_per_batch=4, seconds=60))
    clinic.execute("UPDATE message SET received_at = received_at - interval '1 day'")


def _live(page: str) -> str:
    """The live model that a page of confirmation names in its form."""
    found = re.search(r'name="live" value="([0-9a-f]*)"', page)
    assert found is not None
    return found[1]


def stages(clinic: Clinic) -> dict[str, Stage]:
    return {row.name: Stage(row.stage) for row in clinic.query("SELECT name, stage FROM model_version")}


def test_models_are_shown_with_their_scores_and_disagreements(
    clinic: Clinic, logged_in: Callable[..., Browser], live_model: RegisteredModel
) -> None:
    score_with_shadow(clinic, add_model(clinic))
    browser = logged_in(Role.MANAGER)

    page = browser.get("/models").text

    assert ">newer</th>\n<td>3</td>\n<td>0.0 %</td>\n<td>1</td>\n<td>2</td>" in page
    assert page.count('class="histogram"') == 2
    assert live_model.card.weights_sha256[:12] in page


def test_card_is_shown_as_text_when_it_holds_markup(clinic: Clinic, logged_in: Callable[..., Browser]) -> None:
    add_model(clinic)

    page = logged_in(Role.MANAGER).get(f"/models/{SHA256}").text

    assert "<dt>AUC, test</dt><dd>0.870</dd>" in page
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "{{7*7}}" in page


def test_card_is_a_page_that_stands_alone_and_runs_nothing(clinic: Clinic, logged_in: Callable[..., Browser]) -> None:
    add_model(clinic)
    add_model(clinic, "broken", "2" * 64, metrics={"test": {"intervals": {}, "calibration": EVIL}})
    browser = logged_in(Role.MANAGER)

    assert f'href="/console/models/{SHA256}/card.html"' in browser.get(f"/models/{SHA256}").text
    answer = browser.get(f"/models/{SHA256}/card.html")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'unsafe-inline'; form-")
    assert "<h1>Model card of newer</h1>" in answer.text
    assert "<script" not in answer.text
    assert "&lt;script&gt;" in answer.text
    assert "evaluation that cannot be read" in browser.get(f"/models/{'2' * 64}/card.html").text


@pytest.mark.parametrize("auc", [None, "high", {}, {"value": None}, [0.9]], ids=str)
def test_card_is_shown_without_an_auc_when_its_evaluation_has_none(
    clinic: Clinic, logged_in: Callable[..., Browser], live_model: RegisteredModel, auc: object
) -> None:
    add_model(clinic, metrics={"test": {"auc": auc}, "other": "none", "train": {"auc": 1}})

    page = logged_in(Role.MANAGER).get(f"/models/{SHA256}").text

    assert re.findall("<dt>AUC, (.+)</dt><dd>(.+)</dd>", page) == [("train", "1.000")]


def test_promotion_shows_the_expected_change_and_takes_place_after_it(
    clinic: Clinic, logged_in: Callable[..., Browser], live_model: RegisteredModel
) -> None:
    score_with_shadow(clinic, add_model(clinic))
    browser = logged_in(Role.MANAGER)

    asked = browser.get(f"/models/{SHA256}/promote").text
    assert "Requests per day: -0.0 (from 0.1 to 0.0)" in asked
    assert stages(clinic)["newer"] is Stage.CANDIDATE
    for _ in range(2):  # a second click
        done = browser.post(f"/models/{SHA256}/promote", live=_live(asked))
        assert done.status_code == 303
        assert "newer is live." in browser.get(done.headers["location"].removeprefix("/console")).text

    assert stages(clinic) == {"newer": Stage.LIVE, live_model.card.name: Stage.RETIRED}
    [row] = clinic.query("SELECT actor FROM audit_event WHERE action = 'model.promoted'")
    assert row.actor == "staff:dr-7"


def test_rollback_returns_to_the_model_that_was_confirmed_and_to_no_other(
    clinic: Clinic, logged_in: Callable[..., Browser], live_model: RegisteredModel
) -> None:
    add_model(clinic)
    browser = logged_in(Role.MANAGER)
    assert browser.get("/rollback").status_code == 400  # none was live before
    clinic.send("bad", "b/0.2")
    clinic.drain()
    clinic.execute("UPDATE message SET received_at = received_at - interval '1 day'")
    asked = browser.get(f"/models/{SHA256}/promote").text
    assert "has not scored the photos" in asked
    browser.post(f"/models/{SHA256}/promote", live=_live(asked))

    assert "Requests per day: +0.0" in browser.get("/rollback").text
    assert browser.post("/rollback", to="3" * 64).status_code == 400
    assert browser.post("/rollback", to=SHA256).status_code == 303  # it is live
    assert stages(clinic)["newer"] is Stage.LIVE
    for _ in range(2):
        done = browser.post("/rollback", to=live_model.card.weights_sha256)
        assert f"{live_model.card.name} is live." in browser.get(done.headers["location"][len("/console") :]).text

    assert stages(clinic) == {"newer": Stage.RETIRED, live_model.card.name: Stage.LIVE}


def test_promotion_is_refused_when_another_model_was_made_live_since(
    clinic: Clinic, logged_in: Callable[..., Browser], live_model: RegisteredModel
) -> None:
    add_model(clinic)
    add_model(clinic, "third", "3" * 64)
    browser = logged_in(Role.MANAGER)
    asked, other = browser.get(f"/models/{SHA256}/promote").text, browser.get(f"/models/{'3' * 64}/promote").text
    assert browser.post(f"/models/{'3' * 64}/promote", live=_live(other)).status_code == 303

    refused = browser.post(f"/models/{SHA256}/promote", live=_live(asked))

    assert refused.status_code == 400
    assert "Another model was made live since" in refused.text
    assert browser.post(f"/models/{SHA256}/promote").status_code == 400  # without what the page says
    assert stages(clinic) == {"newer": Stage.CANDIDATE, "third": Stage.LIVE, live_model.card.name: Stage.RETIRED}


@pytest.mark.parametrize("fields", [{"trained": False}, {"metrics": {}}], ids=str)
def test_promotion_is_refused_when_the_model_is_not_fit(
    clinic: Clinic, logged_in: Callable[..., Browser], fields: dict[str, Any]
) -> None:
    add_model(clinic, **fields)
    browser = logged_in(Role.MANAGER)
    asked = browser.get(f"/models/{SHA256}/promote").text

    refused = browser.post(f"/models/{SHA256}/promote", live=_live(asked))
    assert refused.status_code == 400
    assert "Another model was made live" not in refused.text
    assert stages(clinic)["newer"] is Stage.CANDIDATE


def test_promotion_asks_for_a_reason_when_the_model_is_not_evaluated(
    clinic: Clinic, logged_in: Callable[..., Browser], live_model: RegisteredModel
) -> None:
    add_model(clinic, metrics={"test": {"n_good": 5, "n_bad": 5}})
    add_model(clinic, "third", "3" * 64)
    browser = logged_in(Role.MANAGER)
    asked = browser.get(f"/models/{SHA256}/promote").text
    assert "no evaluation of at least 20 good and 20 bad photos" in asked
    assert 'name="reason"' in asked
    assert 'name="reason"' not in browser.get(f"/models/{'3' * 64}/promote").text

    assert browser.post(f"/models/{SHA256}/promote", live=_live(asked), reason=" ").status_code == 400
    assert browser.post(f"/models/{SHA256}/promote", live=_live(asked), reason="no time").status_code == 303

    assert stages(clinic)["newer"] is Stage.LIVE
    [row] = clinic.query("SELECT actor, details ->> 'reason' AS why FROM audit_event WHERE action = 'model.promoted'")
    assert (row.actor, row.why) == ("staff:dr-7", "no time")


def test_unknown_model_is_not_found(logged_in: Callable[..., Browser], live_model: RegisteredModel) -> None:
    browser = logged_in(Role.MANAGER)
    for path in ("/models/none", f"/models/{EVIL}", "/models/none/promote"):
        answer = browser.get(path)
        assert answer.status_code in {400, 404}
        assert "<script" not in answer.text


MALFORMED = ["'{}'", """card - 'threshold' || '{"trained": "x"}'""", """card || '{"of_a_later_release": 1}'"""]
"""Stored cards that this release cannot read, as expressions of SQL."""


@pytest.mark.parametrize("card", MALFORMED)
@pytest.mark.parametrize("stage", [Stage.CANDIDATE, Stage.LIVE, Stage.RETIRED])
def test_pages_say_so_when_a_stored_card_is_malformed(
    clinic: Clinic, logged_in: Callable[..., Browser], live_model: RegisteredModel, card: str, stage: Stage
) -> None:
    score_with_shadow(clinic, add_model(clinic))
    clinic.execute("UPDATE model_version SET promoted_at = now(), stage = 'retired' WHERE stage = 'live'")
    clinic.execute(f"UPDATE model_version SET stage = '{stage}', card = {card} WHERE name = 'fixture'")
    browser = logged_in(Role.MANAGER)

    page = browser.get("/models").text

    assert "The stored card of fixture@1 is malformed" in page
    assert f'/models/{SHA256}">newer</a>' in page
    fixture = live_model.card.weights_sha256
    for path in (f"/models/{fixture}", f"/models/{fixture}/promote"):
        refused = browser.get(path)
        assert (refused.status_code, "The stored card of model" in refused.text) == (400, True), path
    [message] = clinic.query("SELECT id FROM message WHERE external_id = 'bad'")
    for path in ("/", f"/messages/{message.id}", "/reports", "/drift", f"/models/{SHA256}"):
        assert browser.get(path).status_code == 200, path
    assert browser.get("/simulator?threshold=0.3").status_code == (400 if stage is Stage.LIVE else 200)


def test_model_with_a_malformed_card_is_replaced_when_it_is_live(
    clinic: Clinic, logged_in: Callable[..., Browser], live_model: RegisteredModel
) -> None:
    score_with_shadow(clinic, add_model(clinic))
    clinic.execute("UPDATE model_version SET card = '{}' WHERE stage = 'live'")
    browser = logged_in(Role.MANAGER)

    asked = browser.get(f"/models/{SHA256}/promote").text
    assert "the stored card of the live model is malformed" in asked
    assert _live(asked) == live_model.card.weights_sha256
    assert browser.post(f"/models/{SHA256}/promote", live=_live(asked)).status_code == 303

    assert stages(clinic) == {"newer": Stage.LIVE, "fixture": Stage.RETIRED}
    assert browser.get("/rollback").status_code == 400
    assert browser.get("/models").status_code == 200
