"""Redis clients, with TLS for `rediss://` URLs."""

import ssl
from typing import Any

from redis import Redis
from redis.exceptions import AuthenticationError, ResponseError

from triage.errors import UsageError
from worker.settings import Settings


def connect_redis(settings: Settings) -> Redis:
    """Returns a client with timeouts and health checks of idle connections. It connects on first use.

    Raises:
        UsageError: the URL has malformed or unknown options. The error omits the URL, which may contain a password.
    """
    timeout = settings.redis.socket_timeout_seconds
    connecting = {} if settings.redis_url.startswith("unix:") else {"socket_connect_timeout": timeout}
    tls = tls_options(settings)
    options = {"socket_timeout": timeout, "health_check_interval": 30, **connecting, **tls}
    try:
        redis = Redis.from_url(settings.redis_url, **options)
        redis.connection_pool.make_connection()  # does not connect, but checks the options of the URL
    except (ValueError, TypeError):
        raise UsageError("the Redis URL is malformed: correct TRIAGE_REDIS__URL") from None
    return redis


def tls_options(settings: Settings) -> dict[str, Any]:
    """redis-py's TLS options: verify the server's certificate and host name. Empty unless the URL is `rediss://`."""
    if not settings.redis_url.startswith("rediss:"):
        return {}
    redis = settings.redis
    files = {"ssl_ca_certs": redis.ca_file, "ssl_certfile": redis.certificate_file, "ssl_keyfile": redis.key_file}
    given = {name: str(path) for name, path in files.items() if path is not None}
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True} | given


def redis_problem(error: BaseException) -> str:
    """Says in one line what is wrong with Redis and what to do, without data of Redis.

    Args:
        error: of redis-py, or of kombu with the error of redis-py as its cause.
    """
    cause = error if isinstance(error, ResponseError | AuthenticationError) else error.__cause__
    if isinstance(cause, AuthenticationError):
        return "Redis refuses the password: correct TRIAGE_REDIS__URL"
    if isinstance(cause, ResponseError):
        return (
            f"Redis refuses a command ({type(cause).__name__}): "
            "check its memory limit, its role, the rights of its user, and who else writes to it"
        )
    return "Redis does not respond: start it or set TRIAGE_REDIS__URL"
