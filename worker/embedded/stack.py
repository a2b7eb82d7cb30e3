"""The whole product on one machine: Postgres, Redis, migrations and workers, started and stopped together."""

import os
from collections.abc import Mapping, Sequence
from typing import Self

from triage.storage import migrate, roles
from triage.storage.database import create_database_engine
from triage.storage.role_names import MIGRATOR
from worker.embedded.postgres import EmbeddedPostgres
from worker.embedded.redis import EmbeddedRedis
from worker.embedded.workers import EmbeddedWorkers
from worker.state_folder import EmbeddedState


class EmbeddedStack:
    """Used as a context, it stops everything on the way out, whatever happened inside."""

    def __init__(self, state: EmbeddedState, environment: Mapping[str, str] = os.environ) -> None:
        """
        Args:
            state: the folders of everything.
            environment: the workers' environment, without this state's place, which is added.
        """
        self.state = state
        self.postgres = EmbeddedPostgres(state)
        self.redis = EmbeddedRedis(state)
        self.workers = EmbeddedWorkers(state, {**environment, "TRIAGE_HOME": str(state.root)})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start_services(self) -> None:
        """Starts Postgres and Redis, or takes over those of an earlier launcher, and makes the database."""
        self.workers.stop()
        self.postgres.start()
        self.redis.start()
        self.postgres.ensure_database("triage")

    def migrate(self) -> None:
        """As `migrate_database`."""
        migrate_database(self.state)

    def recreate_database(self) -> None:
        """Begins with an empty database; what was in it is gone."""
        self.postgres.drop_database("triage")
        self.postgres.ensure_database("triage")

    def start_workers(self, kinds: Sequence[str]) -> None:
        self.workers.start(kinds)

    def running(self) -> dict[str, int | None]:
        """The process id of each part, None where it does not run."""
        services = {"postgres": self.postgres.pid, "redis": self.redis.pid}
        return services | dict.fromkeys(("scoring", "intake", "training")) | self.workers.running()

    def stop(self) -> None:
        """Stops workers first, then Redis and Postgres; does nothing for what does not run."""
        self.workers.stop()
        self.redis.stop()
        self.postgres.stop()


def migrate_database(state: EmbeddedState, name: str = "triage") -> None:
    """Makes the database roles, and brings a database's tables up to date as the one that owns them."""
    for role, change in (("postgres", roles.create), (MIGRATOR, migrate.upgrade)):
        engine = create_database_engine(state.database_url(name, role=role))
        try:
            change(engine)
        finally:
            engine.dispose()
