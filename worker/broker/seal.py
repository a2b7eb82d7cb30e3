"""The envelope of signed messages: that of Celery's serializer `auth`. Imports cryptography, of the extra `signing`."""

from pathlib import Path
from typing import Any, Final

from celery.exceptions import SecurityError
from celery.security.certificate import Certificate, FSCertStore
from celery.security.key import PrivateKey
from celery.security.serialization import SecureSerializer
from kombu.serialization import loads, registry

_DIGEST: Final = "sha256"
_SIGNED_TYPE: Final = "application/json"
_SIGNED_ENCODING: Final = "utf-8"


class Seal(SecureSerializer):  # type: ignore[misc]  # Celery has no type hints
    """Signs with the key of this process and opens the envelopes of trusted senders.

    The envelope also names the format of the signed bytes, which no signature covers. Celery decodes by it; this class
    accepts JSON only.
    """

    def __init__(self, key_file: Path, certificate_file: Path, trusted_folder: Path) -> None:
        """
        Raises:
            Exception: of Celery, cryptography or the file system: a file cannot be used.
        """
        super().__init__(
            PrivateKey(key_file.read_bytes()),
            Certificate(certificate_file.read_bytes()),
            FSCertStore(f"{trusted_folder}/*.pem"),
            _DIGEST,
        )

    def register(self) -> None:
        """Makes this the serializer `auth` of the process."""
        registry.register("auth", self.serialize, self.deserialize, "application/data", "utf-8")

    def open(self, envelope: str | bytes) -> bytes:
        """Returns the signed JSON.

        Raises:
            SecurityError: the envelope is malformed, the signature is wrong, or its certificate has expired or is not
                trusted.
        """
        try:
            parts = self._unpack(envelope)
            signed: bytes = parts["body"]
            self._cert_store[parts["signer"]].verify(signed, parts["signature"], self._digest)
        except Exception as error:  # a wrong signature raises TypeError, because Celery catches a module
            raise SecurityError("no trusted signature") from error
        if (parts["content_type"], parts["content_encoding"]) != (_SIGNED_TYPE, _SIGNED_ENCODING):
            raise SecurityError("the signed bytes are not JSON")
        return signed

    def deserialize(self, data: str | bytes) -> Any:
        return loads(self.open(data), _SIGNED_TYPE, _SIGNED_ENCODING)
