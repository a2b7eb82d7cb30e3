"""Training, schedules, retention, metrics and logs."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from worker.setting_types import Group, with_scheme


class TrainingSettings(Group):
    lease_seconds: float = Field(
        default=60, ge=5, le=86_400, description="time without a heartbeat before another worker resumes a training run"
    )
    max_attempts: int = Field(
        default=10, ge=1, le=1000, description="worker deaths without a finished epoch before a run fails"
    )
    device: str = Field(default="auto", description="as `TRIAGE_SCORER__DEVICE`")
    threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="CPU threads of training; PyTorch's choice if unset, limited to the container's CPUs",
    )
    decode_threads: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="photos prepared at the same time before the first epoch; if unset one for each CPU, at most 16",
    )
    folder: Path | None = Field(
        default=None,
        description="checkpoints and decoded photos of runs, 0.6 MB per photo; a folder below `TRIAGE_HOME` if unset",
    )
    mlflow_uri: SecretStr | None = Field(
        default=None,
        description=(
            "`http://` or `https://` address of an MLflow server that gets a copy of each training, see "
            "[training.md](../training.md#mlflow); none if unset; needs the extra `mlflow`"
        ),
    )

    @field_validator("mlflow_uri")
    @classmethod
    def _check_mlflow_uri(cls, uri: SecretStr | None) -> SecretStr | None:
        return with_scheme(uri, "https://", "http://")


class RetentionSettings(Group):
    photo_days: float | None = Field(
        default=None,
        gt=0,
        le=36_500,
        description="age since the last receipt at which photos are purged; never if unset",
    )


class ScheduleSettings(Group):
    rescoring_hour_utc: int = Field(default=2, ge=0, le=23, description="hour at which the nightly rescoring starts")
    purge_hour_utc: int = Field(default=4, ge=0, le=23, description="hour at which the nightly purge starts")


class MetricsSettings(Group):
    host: str = Field(default="127.0.0.1", description="listen address of the workers' metrics")
    worker_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="port of a worker's metrics, different for each worker of a host; closed if unset",
    )


class LogSettings(Group):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="`DEBUG`, `INFO`, `WARNING` or `ERROR`"
    )
    format: Literal["json", "console"] = Field(default="json", description="`json` or `console`")
