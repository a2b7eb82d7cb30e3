"""Faults of the schema while workers run: the next release's migration, and the schema of an older release."""

import time
from collections.abc import Callable

from alembic import command
from sqlalchemy.exc import OperationalError

from tests.support.schema_versions import config_with_next, make_current, make_older
from tests.system.chaos.site import LEASE_SECONDS, Scale, Site
from triage.storage.database import create_database_engine
from triage.storage.role_names import MIGRATOR


def expand(site: Site, scale: Scale) -> int:
    """The next release's migration and its downgrade, while workers of this release score."""
    site.parts.start("scoring-1", "scoring-2", "intake-1", "beat-1")
    engine = create_database_engine(site.state.database_url(role=MIGRATOR))
    config = config_with_next(site.folder / "next", engine)
    for _ in range(scale.times):
        site.send(scale, 1 / scale.times)
        site.wait_for_work()
        _insist(lambda: command.upgrade(config, "next"))
        site.sender.send(1, 3)
        site.fault_ended()
        site.wait_for_work()
        _insist(lambda: command.downgrade(config, "-1"))
        site.sender.send(1, 3)
        site.fault_ended()
    engine.dispose()
    site.settle()
    return 2 * scale.times


def downgrade(site: Site, scale: Scale) -> int:
    """The schema of an older release under workers of this one: photos wait unchanged until the schema is upgraded."""
    site.parts.start("scoring-1", "scoring-2", "intake-1", "beat-1")
    site.send(scale)
    engine = create_database_engine(site.state.database_url(role=MIGRATOR))
    for _ in range(scale.times):
        site.send(scale, 0.05)
        site.wait_for_work()
        _insist(lambda: make_older(engine))
        time.sleep(4 * LEASE_SECONDS)  # long enough for each photo to use up its attempts, if they counted
        _insist(lambda: make_current(engine))
        site.fault_ended()
    engine.dispose()
    site.settle()
    [(parked,)] = site.query("SELECT count(*) FROM attachment WHERE error_code = 'attempts_exhausted'")
    assert parked == 0, "photos used up their attempts because of the schema"
    return scale.times


def _insist(migrate_once: Callable[[], object]) -> None:
    """Retries a migration that gave up waiting for a lock, as operators are advised to do."""
    for _ in range(20):
        try:
            migrate_once()
        except OperationalError:
            continue
        return
    raise AssertionError("the migration did not get its lock")
