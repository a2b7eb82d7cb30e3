"""Redis clients, with TLS for `rediss://` URLs."""

import ssl
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

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
    except (ValueError, TypeError, RedisError):
        raise UsageError("the Redis URL is malformed: correct TRIAGE_REDIS__URL") from None
    return redis


def tls_options(settings: Settings) -> dict[str, Any]:
    """redis-py's TLS options: verify the server's certificate and host name. Empty unless the URL is `rediss://`.

    Raises:
        UsageError: a file cannot be used. Without this check it would look like a Redis that does not respond.
    """
    if not settings.redis_url.startswith("rediss:"):
        return {}
    redis = settings.redis
    files = {"ssl_ca_certs": redis.ca_file, "ssl_certfile": redis.certificate_file, "ssl_keyfile": redis.key_file}
    given = {name: str(path) for name, path in files.items() if path is not None}
    _check_files(settings)
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True} | given


def _check_files(settings: Settings) -> None:
    redis = settings.redis
    try:
        variable = "TRIAGE_REDIS__CA_FILE"
        context = ssl.create_default_context(cafile=redis.ca_file)
        variable = "TRIAGE_REDIS__CERTIFICATE_FILE or TRIAGE_REDIS__KEY_FILE"
        if redis.certificate_file is not None:
            context.load_cert_chain(redis.certificate_file, redis.key_file)
    except OSError:
        raise UsageError(f"the file of {variable} cannot be used: name a readable file in PEM format") from None
