"""A pool of decoder processes: a crash, a stall or memory exhaustion ends one process and fails one photo.

A process returns raw pixels after a short JSON header. Both are validated here and never unpickled, so a compromised
decoder cannot execute code in the scoring process. Its environment holds no settings and no credentials.
"""

import fcntl
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import IO, Final

from triage.deadline import deadline
from triage.errors import AttachmentError, ErrorCode, TransientError
from triage.imaging.colour import MAX_PROFILE_BYTES
from triage.imaging.formats import MediaType
from triage.imaging.limits import ImageLimits
from triage.imaging.memory import recycled_pixels
from triage.imaging.photo import DecodedPhoto, Note

SIZE: Final = struct.Struct("!Q")
READY: Final = b"R"
_MAX_HEADER_BYTES: Final = 4096
_MAX_LINE: Final = 200
_START_SECONDS: Final = 120.0
_OVERWRITE: Final = "129"  # glibc overwrites freed memory with it, so a photo cannot read an earlier one
_PIPE_BYTES: Final = 2**20  # 16 times the default: a photo of tens of MB needs fewer switches between the processes
_PHOTOS_EACH: Final = 500  # a process is replaced after that, which bounds memory leaks of decoders


class IsolatedDecoders:
    """Runs up to `processes` decoder processes, each started on first use. Thread-safe."""

    def __init__(self, limits: ImageLimits, processes: int) -> None:
        self._limits = limits
        self._places = threading.BoundedSemaphore(processes)
        self._idle: list[_Process] = []
        self._lock = threading.Lock()

    def decode(self, data: bytes) -> DecodedPhoto:
        """Decodes one photo of any format.

        Raises:
            AttachmentError: as `decode_raster` and `decode_dicom`.
            TransientError: the process crashed or exceeded its time limit.
        """
        with self._places, self._process() as process:
            return process.decode(data)

    def close(self) -> None:
        """Stops the idle processes."""
        with self._lock:
            processes, self._idle = self._idle, []
        for process in processes:
            process.end()

    @contextmanager
    def _process(self) -> Iterator["_Process"]:
        with self._lock:
            process = self._idle.pop() if self._idle else None
        process = process or _Process(self._limits)
        try:
            yield process
        finally:
            if process.is_fit:
                with self._lock:
                    self._idle.append(process)
            else:
                process.end()


class _Process:
    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits
        self._decoded = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "triage.imaging.decoder_process", json.dumps(asdict(limits))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C must reach the parent only
            env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
            | {"OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "MALLOC_PERTURB_": _OVERWRITE}
            | {"MALLOC_ARENA_MAX": "1"},  # glibc reserves 64 MB of address space for each other one
        )
        _enlarge(self._process.stdout)
        self._is_ready = self._is_lost = False

    @property
    def is_fit(self) -> bool:
        """Whether the process can decode another photo."""
        return not self._is_lost and self._process.poll() is None and self._decoded < _PHOTOS_EACH

    def decode(self, data: bytes) -> DecodedPhoto:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise ValueError("the decoder process has no pipes")
        if not self._is_ready:
            with deadline(_START_SECONDS, self._process.kill):
                self._is_ready = stdout.read(len(READY)) == READY
        self._decoded += 1
        with deadline(self._limits.decode_seconds, self._process.kill) as is_over:
            try:
                stdin.write(SIZE.pack(len(data)))
                stdin.write(data)
                stdin.flush()
                return self._answer(stdout)
            except AttachmentError:
                raise
            except Exception as error:  # a broken pipe or an invalid answer
                self._is_lost = True  # the kill takes effect later
                self._process.kill()
                if is_over.is_set():
                    raise TransientError(
                        ErrorCode.DECODING_TIMED_OUT,
                        f"decoding took more than {self._limits.decode_seconds:g} s: send another photo",
                    ) from error
                raise TransientError(
                    ErrorCode.DECODER_CRASHED, "the photo crashed the decoder: send another photo"
                ) from error

    def _answer(self, stdout: IO[bytes]) -> DecodedPhoto:
        header = json.loads(_read(stdout, _bounded(SIZE.unpack(_read(stdout, SIZE.size))[0], _MAX_HEADER_BYTES)))
        if "error" in header:
            raise AttachmentError(ErrorCode(header["error"]), _one_line(header["message"]))
        height, width = int(header["height"]), int(header["width"])
        _bounded(height * width, self._limits.max_pixels)
        profile = _read(stdout, _bounded(int(header["profile_bytes"]), MAX_PROFILE_BYTES))
        pixels = recycled_pixels((height, width, 3))
        view = pixels.data.cast("B")
        while view:
            n = stdout.readinto(view)  # type: ignore[attr-defined]  # a pipe's BufferedReader has it
            if not n:
                raise EOFError
            view = view[n:]
        n_frames = _bounded(int(header["n_frames"]), self._limits.max_frames)
        return DecodedPhoto(
            pixels,
            MediaType(header["media_type"]),
            _bounded(int(header["orientation"]), 8),
            profile or None,
            n_frames,
            _bounded(int(header["frame"]), n_frames),
            tuple(Note(note) for note in header["notes"]),
        )

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # unflushed bytes of a dead process
                    continue


def _enlarge(pipe: IO[bytes] | None) -> None:
    """Has no effect where the system limits pipes, or does not support it."""
    if pipe is not None and hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _read(stdout: IO[bytes], n: int) -> bytes:
    data = stdout.read(n)
    if len(data) < n:
        raise EOFError
    return data


def _one_line(text: str) -> str:
    if not (text.isascii() and text.isprintable() and len(text) <= _MAX_LINE):
        raise ValueError("the error message is not one short line of ASCII")
    return text


def _bounded(value: int, limit: int) -> int:
    if not 0 <= value <= limit:
        raise ValueError("a value of the answer is out of range")
    return value
