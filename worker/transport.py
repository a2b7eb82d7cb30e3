"""How task messages travel: TLS to Redis, and signatures where Redis is not to be trusted."""

import ssl
from typing import Any, Final

from celery import Celery

from triage.errors import UsageError
from worker.settings import Settings

_DIGEST: Final = "sha256"


def tls_options(settings: Settings) -> dict[str, Any]:
    """What redis-py needs for `rediss://`: the server's certificate is checked, its name too. Else nothing."""
    if not settings.redis_url.startswith("rediss:"):
        return {}
    redis = settings.redis
    files = {"ssl_ca_certs": redis.ca_file, "ssl_certfile": redis.certificate_file, "ssl_keyfile": redis.key_file}
    given = {name: str(path) for name, path in files.items() if path is not None}
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True} | given


def sign_messages(app: Celery, settings: Settings) -> None:
    """Makes an app sign what it sends and refuse what nobody trusted has signed, if that is asked for.

    What is signed is the body, with the arguments; not the headers, which name the task. Results are not signed.

    Raises:
        UsageError: a file cannot be read, or the extra `signing` is not installed.
    """
    signing = settings.signing
    if not signing.is_on:
        return
    app.conf.update(
        task_serializer="auth",
        accept_content=["auth"],
        security_key=str(signing.key_file),
        security_certificate=str(signing.certificate_file),
        security_cert_store=f"{signing.trusted_folder}/*.pem",
        security_digest=_DIGEST,
    )
    try:
        app.setup_security(  # registers `auth` after leaving JSON alone allowed
            allowed_serializers=["json"]
        )
    except Exception as error:  # Celery's, cryptography's and the file system's
        raise UsageError(
            "TRIAGE_SIGNING: a key or certificate cannot be read, or cryptography is missing: "
            "pip install 'skin-photo-triage[signing]'"
        ) from error
