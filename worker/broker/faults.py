"""What an error of Redis means: the only place that tells a refusal from an outage, by the type of the exception."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from redis import exceptions as redis

from triage.errors import Fault, ServiceRefusedError, ServiceUnavailableError, TriageError, causes_of

log = structlog.get_logger(__name__)

CORRECT_URL: Final = "correct TRIAGE_REDIS__URL"
REDIS_ERRORS: Final = (redis.RedisError, OSError)
"""What redis-py raises if Redis is unavailable. An error of kombu has one of these as its cause."""


class RedisUnavailableError(ServiceUnavailableError):
    """Redis does not respond, or cannot run a command now."""


class RedisRefusedError(ServiceRefusedError, RedisUnavailableError):
    """Redis refuses this process, or its certificate is not trusted."""


@contextmanager
def redis_errors() -> Iterator[None]:
    """Translates errors of redis-py and kombu.

    Raises:
        RedisUnavailableError: Redis does not respond.
        RedisRefusedError: a setting, or an account in Redis, is wrong.
    """
    try:
        yield
    except TriageError:
        raise
    except Exception as error:
        if any(isinstance(cause, REDIS_ERRORS) for cause in causes_of(error)):
            raise redis_fault(error) from error
        raise


def redis_fault(error: BaseException) -> RedisUnavailableError:
    """The error of this product for one of redis-py or kombu. Its text contains no part of a command or a URL."""
    for cause in causes_of(error):
        if fault := _outage(cause) or _refusal(cause):
            return fault
    return RedisUnavailableError(
        f"Redis does not respond: start it (`triage up` starts the embedded one), or {CORRECT_URL}"
    )


def log_unavailable(error: BaseException, **fields: object) -> None:
    """Logs that Redis is unavailable, and why."""
    log.warning("redis.unavailable", error_type=type(error).__name__, kind=redis_fault(error).kind, **fields)


def _refusal(error: BaseException) -> RedisRefusedError | None:
    match error:
        case redis.AuthenticationError() if "required" in str(error):
            text, kind = "Redis requires a password: add it to TRIAGE_REDIS__URL", Fault.NO_PASSWORD
        case redis.AuthenticationError():
            text, kind = f"Redis refuses the user or the password: {CORRECT_URL}", Fault.WRONG_PASSWORD
        case redis.NoPermissionError():
            text = "the Redis user lacks a permission: grant it all commands and the keys of TRIAGE_REDIS__KEY_PREFIX"
            kind = Fault.NO_PRIVILEGE
        case ssl.SSLCertVerificationError(verify_code=62 | 64):  # host name, IP address
            text = f"the certificate of Redis is for another host: use a host name of the certificate, or {CORRECT_URL}"
            kind = Fault.UNTRUSTED_CERTIFICATE
        case ssl.SSLCertVerificationError():
            text = "the certificate of Redis is not trusted: set TRIAGE_REDIS__CA_FILE to its authority"
            kind = Fault.UNTRUSTED_CERTIFICATE
        case ssl.SSLError() | TimeoutError() if isinstance(error, ssl.SSLError) or "handshake" in str(error):
            text = "Redis does not answer with TLS: use the port that has TLS, or redis:// in TRIAGE_REDIS__URL"
            kind = Fault.TLS
        case redis.ResponseError() if "DB index" in str(error):
            text, kind = f"Redis has no database of this number: {CORRECT_URL}", Fault.UNKNOWN_DATABASE
        case redis.ResponseError() if "protected mode" in str(error):
            text, kind = "Redis runs in protected mode: set a password in Redis", Fault.NOT_ALLOWED
        case redis.ResponseError():
            text = (
                f"Redis refuses a command ({type(error).__name__}): check its memory limit, its role, the rights of "
                "its user, and who else writes to it"
            )
            kind = Fault.REFUSED
        case redis.InvalidResponse():
            text, kind = f"the server at this host and port is not Redis: {CORRECT_URL}", Fault.SETTING
        case _:
            return None
    return RedisRefusedError(text, kind)


def _outage(error: BaseException) -> RedisUnavailableError | None:
    match error:
        case redis.BusyLoadingError():
            text, kind = "Redis is starting: retry", Fault.RESTARTING
        case redis.ReadOnlyError():
            text, kind = f"Redis is a read-only replica: connect to the primary, or {CORRECT_URL}", Fault.READ_ONLY
        case redis.ConnectionError() if "max number of clients" in str(error):
            text, kind = "Redis has no free connection: raise maxclients", Fault.TOO_MANY_CONNECTIONS
        case redis.OutOfMemoryError():
            text, kind = "the memory of Redis is full: raise maxmemory", Fault.NO_MEMORY
        case redis.ResponseError() if "MISCONF" in str(error):
            text, kind = "Redis cannot write to its disk: free some space", Fault.DISK_FULL
        case socket.gaierror():
            text = f"the host name of Redis cannot be resolved: {CORRECT_URL}, or the name service"
            kind = Fault.UNKNOWN_HOST
        case ConnectionResetError() | BrokenPipeError():
            text, kind = (
                "Redis closed the connection: retry, or use rediss:// if its port requires TLS",
                Fault.DISCONNECTED,
            )
        case redis.ConnectionError() if "closed by server" in str(error):
            text, kind = (
                "Redis closed the connection: retry, or use rediss:// if its port requires TLS",
                Fault.DISCONNECTED,
            )
        case _:
            return None
    return RedisUnavailableError(text, kind)
