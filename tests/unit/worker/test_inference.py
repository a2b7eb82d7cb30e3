from typing import Any
from unittest.mock import Mock

import pytest
import torch
from prometheus_client import REGISTRY

from tests.support.narrow_model import make_narrow_model
from triage.model.engines.audited import Comparison
from worker import inference
from worker.inference import load_engine
from worker.settings import ScorerSettings, Settings


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The warnings of the module."""
    noted: list[dict[str, Any]] = []
    monkeypatch.setattr(inference.log, "warning", lambda event, **fields: noted.append({"event": event, **fields}))
    return noted


@pytest.mark.parametrize(
    ("device", "engine", "is_reported"),
    [("auto", "torch", True), ("auto", "auto", True), ("cpu", "torch", False), ("auto", "mnn", False)],
)
def test_card_without_a_driver_is_reported_unless_a_cpu_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, events: list[dict[str, Any]], device: str, engine: Any, is_reported: bool
) -> None:
    monkeypatch.setattr(inference, "has_card", lambda: True)
    monkeypatch.setattr(inference, "choose_engine", Mock())

    load_engine(Settings(scorer=ScorerSettings(device=device, engine=engine)), *make_narrow_model())

    expected = {"event": "engine.unavailable", "kind": "cuda", "status": "no_driver"}
    assert [{key: one[key] for key in expected} for one in events] == [expected] * is_reported
    if is_reported:
        assert _metric("triage_engine_unavailable", engine="cuda", reason="no_driver") == 1


@pytest.mark.parametrize(
    ("device", "engine", "is_replaceable"),
    [("auto", "auto", True), ("auto", "torch", True), ("cuda", "auto", False), ("auto", "cuda", False)],
)
def test_only_a_card_that_no_setting_names_is_replaced(
    monkeypatch: pytest.MonkeyPatch, device: str, engine: Any, is_replaceable: bool
) -> None:
    monkeypatch.setattr(inference, "choose_device", lambda *_: torch.device("cuda"))
    choose = Mock()
    monkeypatch.setattr(inference, "choose_engine", choose)

    load_engine(Settings(scorer=ScorerSettings(device=device, engine=engine)), *make_narrow_model())

    assert choose.call_args.kwargs["is_replaceable"] is is_replaceable


def test_photos_that_are_scored_twice_are_counted_with_their_largest_error(events: list[dict[str, Any]]) -> None:
    name = "counted"
    for photos, error, is_within in ((3, 0.25, True), (1, 0.5, False)):
        inference._report_comparison(name, Comparison("mnn", photos, error, is_within))

    assert _metric("triage_photos_scored_twice_total", model=name) == 4
    assert _metric("triage_logit_error", model=name) == 0.5
    assert _metric("triage_engine_unavailable", engine="mnn", reason="inexact") == 1
    assert [(one["kind"], one["status"]) for one in events] == [("mnn", "inexact")]


def _metric(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)
