"""Redis clients, with TLS where the URL asks for it."""

import ssl
from typing import Any

from redis import Redis

from worker.settings import Settings


def connect_redis(settings: Settings) -> Redis:
    """A client that gives up in time and notices dead connections."""
    timeout = settings.redis.socket_timeout_seconds
    connecting = {} if settings.redis_url.startswith("unix:") else {"socket_connect_timeout": timeout}
    tls = tls_options(settings)
    return Redis.from_url(settings.redis_url, socket_timeout=timeout, health_check_interval=30, **connecting, **tls)


def tls_options(settings: Settings) -> dict[str, Any]:
    """What redis-py needs for `rediss://`: the server's certificate is checked, its name too. Else nothing."""
    if not settings.redis_url.startswith("rediss:"):
        return {}
    redis = settings.redis
    files = {"ssl_ca_certs": redis.ca_file, "ssl_certfile": redis.certificate_file, "ssl_keyfile": redis.key_file}
    given = {name: str(path) for name, path in files.items() if path is not None}
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True} | given
