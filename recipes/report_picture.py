"""Writes docs/report.png: the first screen of the HTML report on a drawn clinic, in Debian's Chromium.

.venv/bin/python -m recipes.report_picture
"""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import sync_playwright

from benchmarks.clinic import clinic
from benchmarks.known_clinic import ANSWER_DAYS, DAYS, KnownClinic
from triage.domain.reporting import Period
from triage.reports.html import render_html
from triage.reports.summary import report

CHROMIUM: Final = "/usr/bin/chromium"
PICTURE: Final = Path(__file__).parents[1] / "docs" / "report.png"
MESSAGES: Final = 3000


def main() -> None:
    """Draws a clinic, and takes a picture of the report of its last four weeks."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1024, "height": 1400})
        page.set_content(drawn_report())
        taken = Image.open(io.BytesIO(page.screenshot()))
        browser.close()
    taken.quantize(64).save(PICTURE, optimize=True)  # a third of the size


def drawn_report() -> str:
    """The page, of a clinic whose model was promoted eight weeks ago."""
    known = KnownClinic(datetime.now(UTC))
    known.draw(MESSAGES)
    midnight = known.now.replace(hour=0, minute=0, second=0, microsecond=0)
    with clinic() as site:
        known.write(site.sessions.kw["bind"], site.model)
        period = Period(midnight - timedelta(days=DAYS / 2))
        return render_html(report(site.sessions, period, answer_days=ANSWER_DAYS))


if __name__ == "__main__":
    main()
