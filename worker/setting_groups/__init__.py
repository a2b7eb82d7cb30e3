"""The settings by group, each with its default, its limits and its meaning.

Defaults of rules and limits stand with the rule in `triage`; the fields here read them from there. The meanings are the
text of docs/operations/settings.md and deploy/env.example, which `make pages` writes.
"""

from worker.setting_groups.api import ApiSettings
from worker.setting_groups.console import ConsoleSettings
from worker.setting_groups.fhir import FhirSettings, RetakeResource
from worker.setting_groups.files import BlobSettings, FileSettings, ModelSettings
from worker.setting_groups.retakes import ReplySettings, RetakeSettings
from worker.setting_groups.scoring import InboxSettings, IntakeSettings, ScorerSettings, WorkerSettings
from worker.setting_groups.services import DatabaseSettings, RedisSettings, RoleSettings, SigningSettings
from worker.setting_groups.upkeep import (
    LogSettings,
    MetricsSettings,
    RetentionSettings,
    ScheduleSettings,
    TrainingSettings,
)
from worker.setting_groups.webhooks import WebhookSettings

__all__ = [
    "ApiSettings",
    "BlobSettings",
    "ConsoleSettings",
    "DatabaseSettings",
    "FhirSettings",
    "FileSettings",
    "InboxSettings",
    "IntakeSettings",
    "LogSettings",
    "MetricsSettings",
    "ModelSettings",
    "RedisSettings",
    "ReplySettings",
    "RetakeResource",
    "RetakeSettings",
    "RetentionSettings",
    "RoleSettings",
    "ScheduleSettings",
    "ScorerSettings",
    "SigningSettings",
    "TrainingSettings",
    "WebhookSettings",
    "WorkerSettings",
]
