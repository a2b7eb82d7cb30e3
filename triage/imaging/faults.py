"""Errors for photos that cannot be decoded. The text of a decoder's exception is never read and never passed on."""

from triage.errors import AttachmentError, ErrorCode


def truncated() -> AttachmentError:
    return AttachmentError(ErrorCode.TRUNCATED, "the file is truncated: send the photo again")


def corrupt(part: str = "data") -> AttachmentError:
    """
    Args:
        part: `data` or `header`.
    """
    return AttachmentError(ErrorCode.CORRUPT, f"the image {part} is damaged: send the photo again")


def unsupported_variant() -> AttachmentError:
    return AttachmentError(
        ErrorCode.UNSUPPORTED_VARIANT, "unsupported variant of the image format: send the photo as JPEG or PNG"
    )
