"""The HTML report in Chromium: accessible, nothing wider than its place, and two sheets of A4."""

import copy
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from benchmarks.known_clinic import ANSWER_DAYS, DAYS, KnownClinic
from triage.domain.card import RegisteredModel
from triage.domain.reporting import Period, compared_period
from triage.reports.html import render_html
from triage.reports.summary import report
from triage.storage.database import Sessions

pytestmark = pytest.mark.long

WIDTHS = (1280, 768, 390)
OVERFLOWS = """() => {
  const found = [], page = document.documentElement
  if (page.scrollWidth > page.clientWidth) found.push(`the page is ${page.scrollWidth} px wide`)
  for (const each of document.querySelectorAll("body *")) {
    const box = each.getBoundingClientRect(), drawing = each.closest("svg")
    if (!box.width) continue
    const scrolls = each.matches(".scroll") && innerWidth < 600
    if (!drawing && !scrolls && each.clientWidth && each.scrollWidth > each.clientWidth + 1)
      found.push(`${each.tagName} ${each.textContent.trim().slice(0, 40)}`)
    if (each.tagName === "text") {
      const outer = drawing.getBoundingClientRect()
      if (box.left < outer.left || box.right > outer.right || box.top < outer.top || box.bottom > outer.bottom)
        found.push(`text ${each.textContent}`)
    }
  }
  return found
}"""
"""What is wider than its place. On a phone, wide tables scroll in their own region."""


@pytest.fixture
def period() -> Period:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return Period(midnight - timedelta(days=DAYS / 2))


@pytest.fixture
def full(sessions: Sessions, live_model: RegisteredModel) -> Sessions:
    known = KnownClinic(datetime.now(UTC))
    known.draw(1500)
    known.write(sessions.kw["bind"], live_model.id)
    return sessions


@pytest.mark.parametrize("compare_to", [None, "previous"])
def test_report_fits_and_is_accessible_when_the_clinic_is_full(
    chromium: Browser, full: Sessions, period: Period, compare_to: str | None, tmp_path: Path
) -> None:
    other = compared_period(compare_to, period) if compare_to else None
    summary = report(full, period, answer_days=ANSWER_DAYS, compared_to=other)

    assert summary["messages"]["total"] > 500
    assert summary["drift"]["status"] != "unknown"
    check(chromium, summary, tmp_path)


@pytest.mark.parametrize("compare_to", [None, "previous"])
def test_report_fits_and_is_accessible_when_the_clinic_is_empty(
    chromium: Browser, sessions: Sessions, period: Period, compare_to: str | None, tmp_path: Path
) -> None:
    other = compared_period(compare_to, period) if compare_to else None

    check(chromium, report(sessions, period, compared_to=other), tmp_path)


def test_report_fits_when_there_are_many_groups_with_long_names(
    chromium: Browser, full: Sessions, period: Period, tmp_path: Path
) -> None:
    summary = report(full, period, answer_days=ANSWER_DAYS, compared_to=compared_period("previous", period))

    check(chromium, crowded(summary), tmp_path)


def crowded(summary: dict[str, Any]) -> dict[str, Any]:
    """The report with three times as many groups, of long names, and drift."""
    longer: Callable[[str], str] = lambda name: f"{name}-at-the-university-hospital"  # noqa: E731
    found = copy.deepcopy(summary)
    for key in ("source", "role", "locale"):
        rows = found["outcomes"][key]
        rows += [row | {key: longer(row[key])} for row in rows * 2]
    for part in (found["retake_outcomes"]["by"], found["needless"]["by"]):
        for key in part.keys() - {"fitzpatrick"}:
            part[key] += [row | {"value": longer(row["value"])} for row in part[key] * 2]
    found["reasons_by_source"] += [row | {"source": longer(row["source"])} for row in found["reasons_by_source"]]
    found["errors"] = {f"a_code_of_some_length_{number}": number for number in range(9)}
    drift = found["drift"]
    drift["status"] = "drift"
    drift["sources"] += [row | {"source": longer(row["source"]), "drifted": True} for row in drift["sources"] * 2]
    return found


def check(chromium: Browser, summary: dict[str, Any], folder: Path) -> None:
    file = folder / "report.html"
    file.write_text(render_html(summary), encoding="utf-8")
    for width in WIDTHS:
        page = chromium.new_page(viewport={"width": width, "height": 900})
        page.goto(file.as_uri())
        results = Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
        assert (width, page.evaluate(OVERFLOWS)) == (width, [])
        assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True))) == 2
        page.close()
