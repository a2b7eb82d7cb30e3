"""The program of a decoder process: reads photos from stdin, writes pixels to stdout.

`python -m triage.imaging.decoder_process LIMITS`, started only by `triage.imaging.decoder_pool`.
"""

import gc
import json
import logging
import os
import resource
import sys
import warnings
from contextlib import suppress
from typing import IO

import numpy as np

from triage.errors import AttachmentError, ErrorCode
from triage.imaging.colour import MAX_PROFILE_BYTES
from triage.imaging.decoder_pool import READY, SIZE
from triage.imaging.dicom.decode import decode_dicom
from triage.imaging.formats import MediaType, sniff
from triage.imaging.limits import ImageLimits
from triage.imaging.photo import DecodedPhoto
from triage.imaging.raster import decode_raster


def main() -> None:
    limits = ImageLimits(**json.loads(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # native decoders print warnings to stdout
    warnings.simplefilter("ignore")
    logging.disable()
    _limit_resources(limits)
    answers.write(READY)
    answers.flush()
    while size := sys.stdin.buffer.read(SIZE.size):
        data = sys.stdin.buffer.read(SIZE.unpack(size)[0])
        _extend_cpu_limit(limits)
        if not _answer(answers, data, limits):
            gc.collect()  # exceptions in cycles hold the photo, and Python 3.12 and newer rarely look for cycles


def _answer(answers: IO[bytes], data: bytes, limits: ImageLimits) -> bool:
    """Sends the photo, or the reason for which it cannot be decoded. Returns whether it was decoded."""
    try:
        photo = _decode(data, limits)
    except AttachmentError as error:
        _send(answers, {"error": error.code, "message": str(error)})
        return False
    _send_photo(answers, photo)
    return True


def _decode(data: bytes, limits: ImageLimits) -> DecodedPhoto:
    media_type = sniff(data)
    try:
        if media_type is MediaType.DICOM:
            return decode_dicom(data, limits)
        return decode_raster(data, MediaType(media_type or ""), limits)
    except MemoryError:
        raise AttachmentError(
            ErrorCode.TOO_MUCH_MEMORY, "decoding exceeds the memory limit: send a smaller photo"
        ) from None


def _send_photo(answers: IO[bytes], photo: DecodedPhoto) -> None:
    profile = photo.profile or b""
    if len(profile) > MAX_PROFILE_BYTES:
        profile = b""
    height, width, _ = photo.pixels.shape
    header = {
        "height": height,
        "width": width,
        "media_type": photo.media_type,
        "orientation": photo.orientation,
        "n_frames": photo.n_frames,
        "frame": photo.frame,
        "notes": photo.notes,
        "profile_bytes": len(profile),
    }
    _send(answers, header, profile)
    answers.write(np.ascontiguousarray(photo.pixels).data)
    answers.flush()


def _send(answers: IO[bytes], header: dict[str, object], profile: bytes = b"") -> None:
    text = json.dumps(header).encode()
    answers.write(SIZE.pack(len(text)) + text + profile)
    answers.flush()


def _limit_resources(limits: ImageLimits) -> None:
    """Forbids core files (they would hold a photo) and file writes, and limits memory."""
    for kind, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_AS, limits.decode_memory_bytes),
    ):
        with suppress(ValueError, OSError):  # macOS does not support RLIMIT_AS
            resource.setrlimit(kind, (limit, limit))


def _extend_cpu_limit(limits: ImageLimits) -> None:
    """Extends the CPU limit by one photo. It only takes effect if the parent, which enforces wall time, is gone."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cores = os.cpu_count() or 1
    soft = int(usage.ru_utime + usage.ru_stime + limits.decode_seconds * cores) + 5
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
