"""Crashes, stalls and memory exhaustion of real decoder processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import psutil
import pytest
from PIL import Image

from tests.support.photo_files import MAKERS, encode
from triage.errors import AttachmentError, ErrorCode, TransientError
from triage.imaging import decoder_pool as isolation
from triage.imaging.decoder_pool import IsolatedDecoders
from triage.imaging.limits import ImageLimits
from triage.samples.drawing import draw_skin_photo


@pytest.fixture
def webp() -> bytes:
    return MAKERS["webp"](draw_skin_photo(1, size=(100, 120)))


def _decoding_processes() -> list[psutil.Process]:
    return [
        child for child in psutil.Process().children() if "triage.imaging.decoder_process" in " ".join(child.cmdline())
    ]


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.05)


def test_process_is_reused_for_the_next_photo(webp: bytes) -> None:
    decoders = IsolatedDecoders(ImageLimits(), processes=2)
    try:
        for _ in range(3):
            assert decoders.decode(webp).size == (120, 100)
        assert len(_decoding_processes()) == 1
    finally:
        decoders.close()
    assert _decoding_processes() == []


def test_only_its_own_photo_fails_when_a_decoder_stalls(webp: bytes) -> None:
    decoders = IsolatedDecoders(ImageLimits(decode_seconds=0.5), processes=1)
    try:
        decoders.decode(webp)
        [process] = _decoding_processes()
        process.suspend()
        with pytest.raises(TransientError) as raised:
            decoders.decode(webp)
        assert raised.value.code is ErrorCode.DECODING_TIMED_OUT
        assert decoders.decode(webp).size == (120, 100)  # in a new process
        assert process.pid not in {other.pid for other in _decoding_processes()}
    finally:
        decoders.close()


def test_only_its_own_photo_fails_when_a_decoder_crashes(webp: bytes) -> None:
    decoders = IsolatedDecoders(ImageLimits(), processes=1)
    codes: list[ErrorCode] = []

    def decode_stalled() -> None:
        try:
            decoders.decode(webp)
        except TransientError as error:
            codes.append(error.code)

    try:
        decoders.decode(webp)
        [process] = _decoding_processes()
        process.suspend()
        thread = threading.Thread(target=decode_stalled)
        thread.start()
        time.sleep(0.2)  # the photo is with the process now, or on its way
        os.kill(process.pid, signal.SIGKILL)
        thread.join(60)
        assert codes == [ErrorCode.DECODER_CRASHED]
        assert decoders.decode(webp).size == (120, 100)
    finally:
        decoders.close()


def test_process_survives_when_a_photo_exceeds_the_memory_limit(webp: bytes) -> None:
    greedy = encode(Image.new("RGB", (9_000, 9_000)), "TIFF", compression="tiff_lzw")
    decoders = IsolatedDecoders(ImageLimits(decode_memory_bytes=600 * 2**20), processes=1)
    try:
        decoders.decode(webp)
        [process] = _decoding_processes()
        with pytest.raises(AttachmentError) as raised:
            decoders.decode(greedy)
        assert raised.value.code is ErrorCode.TOO_MUCH_MEMORY
        decoders.decode(webp)
        assert _decoding_processes() == [process]
    finally:
        decoders.close()


def test_each_thread_gets_its_own_photo_when_threads_decode_concurrently() -> None:
    photos = {size: MAKERS["tiff"](draw_skin_photo(size, size=(size, size))) for size in range(64, 80)}
    decoders = IsolatedDecoders(ImageLimits(), processes=3)
    sizes: dict[int, tuple[int, int]] = {}
    threads = [
        threading.Thread(target=lambda size=size, data=data: sizes.update({size: decoders.decode(data).size}))
        for size, data in photos.items()
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert sizes == {size: (size, size) for size in photos}
        assert 1 <= len(_decoding_processes()) <= 3
    finally:
        decoders.close()


def test_decoder_environment_has_no_settings(webp: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIAGE_DATABASE__URL", "postgresql+psycopg://triage:secret@localhost/triage")
    decoders = IsolatedDecoders(ImageLimits(), processes=1)
    try:
        decoders.decode(webp)
        [process] = _decoding_processes()
        assert not any(name.startswith("TRIAGE_") for name in process.environ())
    finally:
        decoders.close()


def test_decoder_exits_when_its_parent_is_killed(webp: bytes) -> None:
    script = (
        "import sys, time\n"
        "from triage.imaging.decoder_pool import IsolatedDecoders\n"
        "from triage.imaging.limits import ImageLimits\n"
        "decoders = IsolatedDecoders(ImageLimits(), 1)\n"
        "decoders.decode(sys.stdin.buffer.read())\n"
        "print('decoded', flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        reader.stdin.write(webp)
        reader.stdin.close()
        assert reader.stdout.readline() == b"decoded\n"
        [decoder] = psutil.Process(reader.pid).children()
        reader.kill()
    _wait_for(lambda: not decoder.is_running() or decoder.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize(
    "header",
    [b'{"height": Infinity, "width": 1}', b"[" * 4000, b'{"error": "corrupt", "message": "two\\nlines"}', b"\xff"],
)
def test_process_is_killed_when_its_answer_is_invalid(
    webp: bytes, monkeypatch: pytest.MonkeyPatch, header: bytes
) -> None:
    decoders = IsolatedDecoders(ImageLimits(), processes=1)
    try:
        decoders.decode(webp)
        [process] = _decoding_processes()
        real = isolation._read
        monkeypatch.setattr(
            isolation, "_read", lambda stdout, n: header if n > isolation.SIZE.size else real(stdout, n)
        )
        with pytest.raises(TransientError) as raised:
            decoders.decode(webp)
        assert raised.value.code is ErrorCode.DECODER_CRASHED
        monkeypatch.undo()
        assert decoders.decode(webp).size == (120, 100)
        assert process.pid not in {other.pid for other in _decoding_processes()}
    finally:
        decoders.close()
