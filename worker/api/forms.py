"""Forms with photos (multipart/form-data): a photo goes to the blob store's volume as it arrives, never into memory."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import anyio.to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from triage.errors import BlobStoreUnavailableError, UsageError
from triage.files.received import ReceivedBytes
from worker.api.problems import RequestError
from worker.codes import Code

if TYPE_CHECKING:  # does not exist at run time
    from python_multipart.multipart import MultipartCallbacks

_PIECE_BYTES: Final = 2**18
"""Handed to a thread at once: smaller pieces would cost more than their writing."""


@dataclass(slots=True)
class PhotoPart:
    """A photo of a form."""

    name: str
    declared_type: str | None
    data: ReceivedBytes


@dataclass(slots=True)
class Form:
    """The parts of a form: the text of one, and photos."""

    text: bytes | None = None
    photos: list[PhotoPart] = field(default_factory=list)


async def read_form(
    request: Request,
    stack: ExitStack,
    *,
    text_part: str,
    max_text: int,
    max_photos: int,
    receive: Callable[[], ReceivedBytes],
) -> Form:
    """Reads a form.

    Args:
        request: its body has not been read.
        stack: closes the photos.
        text_part: name of the part that is text; all others are photos.
        max_text: largest number of bytes of that part.
        max_photos: largest number of photos.
        receive: makes the place for a photo.

    Raises:
        UsageError: the form is malformed or cut off, or has too many photos or two parts of text.
        RequestError: a limit is exceeded.
        ServiceUnavailableError: a photo cannot be stored.
    """
    _, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if not boundary:
        raise UsageError("invalid form: the header Content-Type has no boundary")
    reader = _Reader(stack, text_part, max_text, max_photos, receive)
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        pieces = bytearray()
        async for piece in request.stream():
            pieces += piece
            if len(pieces) >= _PIECE_BYTES:
                await anyio.to_thread.run_sync(parser.write, bytes(pieces))
                pieces.clear()
        await anyio.to_thread.run_sync(parser.write, bytes(pieces))
    except FormParserError:
        raise UsageError("invalid form: the body is not multipart/form-data with this boundary") from None
    except OSError as error:
        raise BlobStoreUnavailableError("the blob store cannot be written: check its free space") from error
    if not reader.is_complete:
        raise UsageError("invalid form: the body ends before its last boundary")
    return reader.form


class _Reader:
    """Takes what the parser finds. Its methods run in threads, one after another."""

    def __init__(
        self,
        stack: ExitStack,
        text_part: str,
        max_text: int,
        max_photos: int,
        receive: Callable[[], ReceivedBytes],
    ) -> None:
        self.form = Form()
        self.is_complete = False
        self._stack = stack
        self._text_part = text_part
        self._max_text = max_text
        self._max_photos = max_photos
        self._receive = receive
        self._name = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._text: bytearray | None = None

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._open,
            "on_part_data": self._data,
            "on_part_end": self._close,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._headers = {}
        self._name = self._value = b""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _open(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name == self._text_part:
            if self.form.text is not None:
                raise UsageError(f"invalid form: it has two parts {self._text_part}")
            self._text = bytearray()
            return
        if len(self.form.photos) == self._max_photos:
            raise UsageError(f"the form has too many photos: send at most {self._max_photos} in one request")
        declared = self._headers.get(b"content-type", b"").decode("ascii", "replace")
        photo = self._stack.enter_context(self._receive())
        self.form.photos.append(PhotoPart(name, declared or None, photo))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._text is None:
            self.form.photos[-1].data.write(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > self._max_text:
            raise RequestError(Code.TOO_LARGE, f"the part {self._text_part} has more than {self._max_text:,} bytes")

    def _close(self) -> None:
        if self._text is not None:
            self.form.text = bytes(self._text)
            self._text = None

    def _end(self) -> None:
        self.is_complete = True
