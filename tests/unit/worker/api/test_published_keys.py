"""Keys of an issuer whose certificate a private authority signed, as in hospitals."""

import asyncio
from pathlib import Path

import pytest

from tests.support.certificates import make_certificate
from tests.support.issuer import Issuer
from triage.errors import ServiceUnavailableError
from worker.api.published_keys import PublishedKeys


def test_private_authority_is_trusted_when_the_environment_names_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    files = make_certificate(tmp_path, "issuer")
    issuer = Issuer(files)
    try:
        with pytest.raises(ServiceUnavailableError):
            asyncio.run(PublishedKeys(issuer.url).with_key("k1"))
        monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
        keys = asyncio.run(PublishedKeys(issuer.url).with_key("k1"))
    finally:
        issuer.stop()

    assert [key.kid for key in keys.keys] == ["k1"]
