"""The page of a model's card in Chromium: accessible, nothing wider than the page, on paper as on the screen."""

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from tests.support.evaluated import make_evaluated_card
from triage.evaluation.card_page import render_card
from triage.model.artifact import read_artifact
from triage.model.starter import STARTER_FOLDER


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("is_starter", [True, False])
def test_card_is_accessible_and_fits(chromium: Browser, tmp_path: Path, is_starter: bool, width: int) -> None:
    card = read_artifact(STARTER_FOLDER)[0] if is_starter else make_evaluated_card()
    (tmp_path / "card.html").write_text(render_card(card), encoding="utf-8")
    page = chromium.new_page(viewport={"width": width, "height": 800})
    page.goto((tmp_path / "card.html").as_uri())

    assert Axe().run(page).response["violations"] == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.close()
