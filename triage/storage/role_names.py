"""Names of the database roles. `triage.storage.roles` says what each may do."""

from typing import Final

MIGRATOR: Final = "triage_migrator"
WORKER: Final = "triage_worker"
REPORT: Final = "triage_report"
ROLES: Final = (MIGRATOR, WORKER, REPORT)
