from pathlib import Path

import pytest

from triage.model.cards import driver_responds, has_card


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NVIDIA_VISIBLE_DEVICES", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)


def _on_the_bus(root: Path, vendor: str = "0x10de", kind: str = "0x030200") -> None:
    device = root / "sys/bus/pci/devices/0000:3b:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text(f"{vendor}\n")
    (device / "class").write_text(f"{kind}\n")


def test_machine_has_a_card_on_its_bus_even_without_a_driver(tmp_path: Path) -> None:
    _on_the_bus(tmp_path)

    assert has_card(tmp_path)


@pytest.mark.parametrize(("vendor", "kind"), [("0x8086", "0x030000"), ("0x10de", "0x040300"), ("0x10de", "0x0c0330")])
def test_other_devices_are_no_cards(tmp_path: Path, vendor: str, kind: str) -> None:
    """Graphics of another maker; sound and USB on a card."""
    _on_the_bus(tmp_path, vendor, kind)

    assert not has_card(tmp_path)


@pytest.mark.parametrize("mark", [".dockerenv", "run/.containerenv", "KUBERNETES_SERVICE_HOST"])
def test_container_has_only_the_cards_that_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str
) -> None:
    _on_the_bus(tmp_path)
    if mark.isupper():
        monkeypatch.setenv(mark, "10.96.0.1")
    else:
        (tmp_path / mark).parent.mkdir(exist_ok=True)
        (tmp_path / mark).touch()

    assert not has_card(tmp_path)
    for none in ("", "void", "none"):
        monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", none)
        assert not has_card(tmp_path)
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "GPU-8a56a4bc")
    assert has_card(tmp_path)


def test_machine_with_a_device_file_has_a_card(tmp_path: Path) -> None:
    assert not has_card(tmp_path)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()

    assert has_card(tmp_path)


def test_driver_does_not_respond_where_its_library_is_missing_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        def __init__(self, code: int) -> None:
            self.code = code

        def cuInit(self, flags: int) -> int:  # noqa: N802
            return self.code

    def missing(_: str) -> Library:
        raise OSError("libcuda.so.1: cannot open shared object file")

    for load, expected in ((missing, False), (lambda _: Library(999), False), (lambda _: Library(0), True)):
        monkeypatch.setattr("ctypes.CDLL", load)
        assert driver_responds() is expected
