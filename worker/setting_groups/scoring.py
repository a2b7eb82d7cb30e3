"""The way of a photo to its verdict."""

from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from triage.domain.limits import FETCH_SECONDS, IntakeLimits, RetryRules
from triage.imaging.limits import ImageLimits
from worker.setting_types import Group, Networks, Roots

_INTAKE: Final = IntakeLimits()
_IMAGES: Final = ImageLimits()
_RETRIES: Final = RetryRules()


class IntakeSettings(Group):
    max_attachments: int = Field(
        default=_INTAKE.max_attachments, ge=1, le=10_000, description="largest number of photos in a message"
    )
    max_bytes: int = Field(
        default=_INTAKE.max_bytes, ge=1, le=2**33, description="largest size of a photo; a larger photo is `too_large`"
    )
    max_pixels: int = Field(
        default=_IMAGES.max_pixels,
        ge=1,
        le=2**33,
        description="largest number of pixels, checked before decoding; a photo with more is `too_many_pixels`",
    )
    min_side_pixels: int = Field(
        default=_IMAGES.min_side, ge=1, le=2**20, description="smallest shorter side; a smaller photo is `too_small`"
    )
    max_side_pixels: int = Field(
        default=_IMAGES.max_side, ge=1, le=2**20, description="largest longer side; a longer photo is `side_too_long`"
    )
    max_frames: int = Field(
        default=_IMAGES.max_frames,
        ge=1,
        le=10**6,
        description="largest number of pictures in a file; a file with more is `too_many_frames`",
    )
    uri_roots: Roots = Field(
        default=(),
        description=(
            'JSON list of allowed roots of photo URIs, such as `["file:///srv/inbox"]`; also `https://`, '
            "`s3://`; see [security.md](security.md)"
        ),
    )
    local_networks: Networks = Field(
        default=(),
        description='JSON list of non-public networks with web servers that hold photos, such as `["10.20.0.0/16"]`',
    )
    fetch_seconds: float = Field(
        default=FETCH_SECONDS,
        gt=0,
        le=3600,
        description="time limit for a photo from a web server, and for each call of an object store with photos",
    )


class WorkerSettings(Group):
    stall_seconds: float = Field(
        default=900,
        gt=0,
        le=86_400,
        description=(
            "a worker that has work and makes no progress exits after this time, so that it is restarted; "
            "keep it longer than loading a model or scoring one batch takes"
        ),
    )
    heartbeat_file: Path | None = Field(
        default=None,
        description=(
            "file in which a worker or beat shows that it runs, for `triage health --self`; a different one for each "
            "process; none if unset"
        ),
    )


class InboxSettings(Group):
    lease_seconds: float = Field(
        default=300,
        gt=0,
        le=86_400,
        description="time a worker holds photos; unfinished photos then go to another worker",
    )
    max_attempts: int = Field(
        default=_RETRIES.max_attempts,
        ge=1,
        le=1000,
        description="failures in decoding or scoring before a photo is parked as `not_assessable`",
    )
    max_lost_leases: int = Field(
        default=_RETRIES.max_lost_leases,
        ge=2,
        le=1000,
        description="workers that may be lost with a photo in hand before it is parked with `attempts_exhausted`",
    )
    retry_backoff_seconds: float = Field(
        default=_RETRIES.backoff.total_seconds(), ge=0, le=86_400, description="delay before a failed photo is retried"
    )
    drain_seconds: float = Field(
        default=20,
        gt=0,
        le=86_400,
        description=(
            "time after which a drain starts no further batch; keep it below the 60 s that a container has to stop"
        ),
    )
    sweep_seconds: float = Field(
        default=5, gt=0, le=86_400, description="interval of the sweeps for expired leases and lost wake-ups"
    )


class ScorerSettings(Group):
    device: str = Field(default="auto", description="`auto` uses a CUDA card if available; or `cpu`, `cuda`, `cuda:1`")
    engine: Literal["auto", "torch", "mnn", "cuda"] = Field(
        default="auto",
        description=(
            "`torch`, `mnn` or `cuda`; `auto` uses the fastest that works on the machine; see [engines.md](engines.md)"
        ),
    )
    cache_folder: Path | None = Field(
        default=None,
        description=(
            "models converted for MNN, 59 MB each; a folder below `TRIAGE_HOME` if unset; safe to empty at any time"
        ),
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="CPU threads of the network; PyTorch's choice if unset, limited to the container's CPUs",
    )
    decode_threads: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="photos decoded at the same time; if unset 2 on a CPU, the number of cores on a GPU machine",
    )
    decode_seconds: float = Field(
        default=_IMAGES.decode_seconds,
        gt=0,
        le=3600,
        description=(
            "time limit for decoding a photo that is not plain JPEG or PNG; a slower photo is `decoding_timed_out`"
        ),
    )
    decode_memory_mb: int = Field(
        default=_IMAGES.decode_memory_bytes // 2**20,
        ge=512,
        le=2**20,
        description=(
            "address space of a process that decodes such photos; a photo that needs more is `too_much_memory`"
        ),
    )
    photos_per_batch: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="photos claimed, scored and recorded together; if unset 4 on a CPU, 64 on a GPU",
    )
    batches_ahead: int | None = Field(
        default=None,
        ge=1,
        le=16,
        description="batches prepared at the same time, ahead of the scored one; if unset 1 on a CPU, 4 on a GPU",
    )
