"""Loads the fixtures of `tests/support` and marks each test with the speed class that its folder stands for."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: processes side by side take one core each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = [
    f"tests.support.{module}"
    for module in (  # a module comes after those that it imports: pytest rewrites the assertions of each on import
        "clinic",
        "cluster",
        "command_line",
        "ctrl_c",
        "decoder",
        "services",
        "api",
        "console",
        "issuer",
        "login_provider",
        "deployment",
        "served",
        "secured_redis",
        "guarded_postgres",
        "models",
        "object_store",
        "photos",
        "rescoring",
        "small_training",
    )
]

_TESTS = Path(__file__).parent

# The same examples in every run, so that a change is never blamed for an example that nobody has seen before.
# `--hypothesis-profile=thorough` looks for new ones: `make fuzz`.
# On a loaded machine, one draw can take seconds: tests do not assert on time.
settings.register_profile("patient", deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeatable", settings.get_profile("patient"), derandomize=True, database=None)
settings.register_profile("thorough", settings.get_profile("patient"), max_examples=2000, print_blob=True)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks each test `unit`, `postgres` or `system` by its folder; a unit test may not ask for a server.

    Files marked `long` come first, so that no process is left alone with one at the end, unless the order is random.
    """
    if not config.pluginmanager.hasplugin("randomly"):
        items.sort(key=lambda item: item.get_closest_marker("long") is None)
    for item in items:
        speed_class = item.path.relative_to(_TESTS).parts[0]
        item.add_marker(speed_class)
        if speed_class == "unit" and "embedded" in getattr(item, "fixturenames", ()):
            raise pytest.UsageError(f"{item.nodeid} needs Postgres or Redis: move it to tests/postgres")
