import os
import shutil
from pathlib import Path

import pytest

from triage.files.volumes import Volume, volume_of

GIB = 2**30


@pytest.mark.parametrize(
    ("free_bytes", "free_share", "is_low"),
    [
        (GIB - 1, 0.9, True),
        (GIB, 0.05, False),
        (20 * GIB, 0.049, True),
        (50 * GIB, 0.001, False),
    ],
)
def test_volume_is_low_before_it_is_full(free_bytes: int, free_share: float, is_low: bool) -> None:
    assert Volume(1, free_bytes, free_share).is_low == is_low


def test_volume_of_a_folder_is_that_of_its_parent_until_it_exists(tmp_path: Path) -> None:
    volume = volume_of(tmp_path / "not" / "yet")

    assert volume is not None
    assert volume.device == tmp_path.stat().st_dev
    assert volume.free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, abs=GIB)
    assert 0 < volume.free_share < 1


def test_free_inodes_count_when_they_run_out_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = list(os.statvfs(tmp_path))
    fields[5], fields[7] = 1000, 3  # f_files, f_favail
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(fields))

    volume = volume_of(tmp_path)

    assert volume is not None
    assert volume.free_share == 0.003
