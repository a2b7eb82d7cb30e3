import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long


def test_every_section_of_the_gpu_benchmark_runs_on_a_cpu(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--small", "--cores", "2", "--minutes", "60"]
    process = subprocess.run(
        [*command, "--json", tmp_path / "gpu.json", "--markdown", tmp_path / "gpu.md"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert process.returncode == 0, process.stderr[-4000:]
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert {row["fault"]: row["outcome"] for row in found["faults"]["faults"]} == {
        "full": "halved",
        "no-room": "DeviceError",
        "lost": "DeviceLostError",
        "after": "all scored",
    }
    lost = next(row for row in found["faults"]["faults"] if row["fault"] == "lost")
    assert (lost["exit status"], lost["parked"], lost["attempts of the others"]) == (70, 0, 0)
    assert [row["photos"] for row in found["whole way"]["whole way"]] == [8] * 4
    assert [found["conformance"][f"exact passes: in {other}"] for other in ("other batches", "another thread")] == [
        0,
        0,
    ]
    page = (tmp_path / "gpu.md").read_text()
    assert all(f"## {name}\n" in page for name in found)
