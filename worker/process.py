"""The services of this process. Tasks ask for them; the parent of a prefork pool never does."""

from functools import cache

from worker.bootstrap import Services
from worker.settings import load_settings


@cache
def services() -> Services:
    """Made on first use, which in a worker is after the fork."""
    return Services(load_settings())
