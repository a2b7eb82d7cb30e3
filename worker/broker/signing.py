"""Signed task messages, for deployments in which Redis is not trusted."""

from typing import Final

from celery import Celery

from triage.errors import UsageError
from worker.settings import Settings

_DIGEST: Final = "sha256"


def sign_messages(app: Celery, settings: Settings) -> None:
    """Makes an app sign the tasks it sends and reject tasks without a trusted signature, if the settings say so.

    The signature covers the body with the arguments, but not the headers with the task's name. Results are not signed.

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
        # without allowed_serializers, setup_security() disables JSON, which `auth` wraps
        app.setup_security(allowed_serializers=["json"])
    except Exception as error:  # of Celery, cryptography or the file system
        raise UsageError(
            "cannot sign tasks: check the files of TRIAGE_SIGNING__KEY_FILE, TRIAGE_SIGNING__CERTIFICATE_FILE and "
            "TRIAGE_SIGNING__TRUSTED_FOLDER, and install the extra: pip install 'skin-photo-triage[signing]'"
        ) from error
