"""The embedded deployment: Postgres, Redis and workers on one machine, started and stopped together."""

import os
from collections.abc import Mapping, Sequence
from typing import Self

from triage.storage import migrate, roles
from triage.storage.database import create_database_engine
from triage.storage.role_names import MIGRATOR
from worker.embedded.launcher import Launcher
from worker.embedded.postgres import EmbeddedPostgres
from worker.embedded.redis import EmbeddedRedis
from worker.embedded.workers import EmbeddedWorkers
from worker.queues import WORKERS
from worker.state_folder import StateFolder


class EmbeddedStack:
    """Postgres, Redis and workers of one state folder. As a context manager, it stops all of them on exit."""

    def __init__(self, state: StateFolder, environment: Mapping[str, str] = os.environ) -> None:
        """
        Args:
            state: the folders of all services.
            environment: of the workers; `TRIAGE_HOME` is added.
        """
        self.state = state
        self.postgres = EmbeddedPostgres(state)
        self.redis = EmbeddedRedis(state)
        self.launcher = Launcher(state)
        self.workers = EmbeddedWorkers(state, {**environment, "TRIAGE_HOME": str(state.root)})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start_services(self) -> None:
        """Starts Postgres and Redis unless they run, and creates the database. Stops workers of an earlier launcher."""
        self.workers.stop()
        self.postgres.start()
        self.redis.start()
        self.postgres.ensure_database("triage")

    def migrate(self) -> None:
        """Upgrades the database, see `migrate_database`."""
        migrate_database(self.state)

    def recreate_database(self) -> None:
        """Replaces the database by an empty one. All data are lost."""
        self.postgres.drop_database("triage")
        self.postgres.ensure_database("triage")

    def start_workers(self, kinds: Sequence[str]) -> None:
        self.workers.start(kinds)

    def running(self) -> dict[str, int | None]:
        """Returns the process id of each part, or None for a part that does not run."""
        services = {"postgres": self.postgres.pid, "redis": self.redis.pid}
        return services | dict.fromkeys(WORKERS) | self.workers.running()

    def stop(self) -> None:
        """Stops the workers, then Redis and Postgres. Parts that do not run are skipped."""
        self.workers.stop()
        self.redis.stop()
        self.postgres.stop()


def migrate_database(state: StateFolder, name: str = "triage") -> None:
    """Creates the database roles, and upgrades the tables of a database as their owner."""
    for role, change in (("postgres", roles.create), (MIGRATOR, migrate.upgrade)):
        engine = create_database_engine(state.database_url(name, role=role))
        try:
            change(engine)
        finally:
            engine.dispose()
