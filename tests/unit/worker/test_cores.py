import math
import os
from pathlib import Path

import pytest

from worker.cores import count_cores, cpu_limit


@pytest.mark.parametrize(
    ("text", "cores"), [("200000 100000\n", 2), ("50000 100000\n", 0.5), ("max 100000\n", math.inf)]
)
def test_cpu_limit_is_that_of_the_container(tmp_path: Path, text: str, cores: float) -> None:
    (tmp_path / "cpu.max").write_text(text)

    assert cpu_limit(tmp_path / "cpu.max") == cores


def test_cpu_limit_is_infinite_without_a_limit(tmp_path: Path) -> None:
    assert cpu_limit(tmp_path / "cpu.max") == math.inf


@pytest.mark.parametrize(
    ("usable", "limit", "cores"), [(16, "max 100000", 16), (16, "350000 100000", 3), (2, "50000 100000", 1)]
)
def test_cores_are_those_of_the_process_within_the_limit_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, usable: int, limit: str, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(usable)))
    (tmp_path / "cpu.max").write_text(limit)

    assert count_cores(tmp_path / "cpu.max") == cores
