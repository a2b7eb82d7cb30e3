"""How task messages travel: TLS to Redis, and signatures where Redis is not to be trusted."""

from typing import Final

from celery import Celery

from triage.errors import UsageError
from worker.settings import Settings

_DIGEST: Final = "sha256"


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
