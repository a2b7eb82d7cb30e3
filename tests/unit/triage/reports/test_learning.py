"""The learning curve of a training as charts and as a page."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pytest

from triage.domain.ids import RunId, new_id
from triage.domain.runs import Run
from triage.domain.states import RunKind, RunStatus
from triage.reports.learning import CurveWords, learning_charts, render_run_html
from triage.training.checkpoint import Epoch

PATIENT = "Erika-Mustermann"


def _epochs(losses: Sequence[float | None], areas: Sequence[float | None] = ()) -> list[dict[str, Any]]:
    areas = areas or [None] * len(losses)
    return [
        asdict(Epoch(number, 1.0, None, area, 0.001, 20.0, 30.0, is_best=False)) | {"train_loss": loss}
        for number, (loss, area) in enumerate(zip(losses, areas, strict=True), start=1)
    ]


def _run(epochs: Sequence[dict[str, Any]], **changes: Any) -> Run:
    now = datetime.now(UTC)
    values: dict[str, Any] = {
        "id": RunId(new_id()),
        "kind": RunKind.TRAINING,
        "status": RunStatus.RUNNING,
        "parameters": {"name": "ours", "manifest": f"/srv/{PATIENT}.csv", "config": {"epochs": 9, "target_ppv": None}},
        "progress": {"stage": "training", "epochs": epochs},
        "attempts": 1,
        "error": None,
        **dict.fromkeys(("created_at", "started_at", "heartbeat_at"), now),
        "finished_at": None,
    }
    return Run(**values | changes)


def test_points_of_a_line_are_the_epochs_and_their_values() -> None:
    [drawn] = learning_charts(_epochs([2.0, 1.0, 0.0]))

    [line] = re.findall(r'<polyline points="([^"]+)"', drawn)
    assert line == "40.0,18.0 186.0,61.0 332.0,104.0"  # from the top of the axis to its bottom
    assert "training: 2.0000 \N{EN DASH} 0.0000. The table has the numbers." in drawn


def test_line_is_broken_where_a_loss_is_not_known() -> None:
    [drawn] = learning_charts(_epochs([1.0, 0.9, None, 0.5]))

    assert [len(points.split()) for points in re.findall(r'points="([^"]+)"', drawn)] == [2, 1]
    assert drawn.count("<circle") == 3  # also a single epoch is seen


def test_area_has_a_chart_only_where_it_is_known() -> None:
    assert len(learning_charts(_epochs([1.0, 0.5], [None, 0.75]))) == 2
    assert len(learning_charts(_epochs([1.0, 0.5]))) == 1
    assert learning_charts(_epochs([None])) == []
    assert learning_charts([]) == []


def test_charts_have_a_title_and_a_description_for_screen_readers() -> None:
    for drawn in learning_charts(_epochs([1.0], [0.5]), CurveWords(loss="<script>", auc="A&B")):
        root = ET.fromstring(drawn)  # made here
        labels = {element.get("id") for element in root}
        assert set((root.get("aria-labelledby") or "").split()) <= labels
        assert root.get("role") == "img"
        assert "<script>" not in drawn


def test_page_of_a_run_that_waits_has_its_settings() -> None:
    page = render_run_html(_run([], status=RunStatus.PENDING, progress={}, started_at=None, heartbeat_at=None))

    assert "pending" in page
    assert '<th scope="row">target ppv</th>' in page


@pytest.mark.parametrize("n_epochs", [0, 1, 3, 200])
def test_page_has_every_epoch_in_its_table_and_no_file_name(n_epochs: int) -> None:
    page = render_run_html(_run(_epochs([1 / n for n in range(1, n_epochs + 1)])))

    assert re.findall(r'<tr><th scope="row">(\d+)</th>', page) == [str(n) for n in range(1, n_epochs + 1)]
    assert ("No epoch has ended yet" in page) == (n_epochs == 0)
    assert PATIENT not in page
    assert "<script" not in page
    assert not re.search(r'(src|href)="', page)
