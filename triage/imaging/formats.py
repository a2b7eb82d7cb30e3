"""What a file really is, told from its first bytes. The name and the declared type are never trusted."""

from enum import StrEnum


class MediaType(StrEnum):
    JPEG = "image/jpeg"
    PNG = "image/png"


_SIGNATURES = {
    b"\xff\xd8\xff": MediaType.JPEG,
    b"\x89PNG\r\n\x1a\n": MediaType.PNG,
}


def sniff(data: bytes) -> MediaType | None:
    """The media type that the leading bytes prove, or None for anything this product does not read."""
    return next((media_type for signature, media_type in _SIGNATURES.items() if data.startswith(signature)), None)
