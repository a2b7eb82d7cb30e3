import math
from pathlib import Path

import pytest

from worker.inference import cpu_limit


@pytest.mark.parametrize(
    ("text", "cores"), [("200000 100000\n", 2), ("50000 100000\n", 0.5), ("max 100000\n", math.inf)]
)
def test_cpu_limit_is_that_of_the_container(tmp_path: Path, text: str, cores: float) -> None:
    (tmp_path / "cpu.max").write_text(text)

    assert cpu_limit(tmp_path / "cpu.max") == cores


def test_cpu_limit_is_infinite_without_a_limit(tmp_path: Path) -> None:
    assert cpu_limit(tmp_path / "cpu.max") == math.inf
