"""Photos on web servers: one request to a checked address, without redirects and with a time limit."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from typing import Final
from urllib.parse import quote

from triage.connections import AddressNotAllowedError, Network, NoConnectionError, connect
from triage.errors import AttachmentError, ErrorCode

_HEADERS: Final = {"Accept-Encoding": "identity", "Connection": "close", "User-Agent": "skin-photo-triage"}


class RefusedError(OSError):
    """The server does not give this photo."""


class ServerFaultError(OSError):
    """No connection to the server can be made, or it answered that it cannot send any photo now."""


@contextmanager
def open_on_web(
    scheme: str, host: str, path: str, query: str = "", *, local_networks: Sequence[Network], seconds: float
) -> Iterator[HTTPResponse]:
    """Opens the response to a request for a photo.

    Args:
        scheme: `http` or `https`.
        host: as in the URI, with an optional port.
        path: without percent-encoding.
        query: as in the URI.
        local_networks: allowed networks that are not public.
        seconds: time limit for the whole request, after which the connection is closed.

    Raises:
        AttachmentError: the server redirects, or its address is not allowed.
        FileNotFoundError: nothing is at this path.
        ServerFaultError: the server is unreachable, not trusted, overloaded or failed.
        OSError: the server does not respond correctly.
    """
    try:
        with connect(scheme, host, local_networks=local_networks, seconds=seconds) as (connection, was_cut):
            connection.request("GET", f"{quote(path)}{'?' if query else ''}{query}", headers=_HEADERS)
            with connection.getresponse() as response:
                _check_status(response.status)
                yield response
                if response.length or was_cut.is_set():
                    raise OSError("the connection ended before the photo was complete")
    except AddressNotAllowedError as error:
        raise AttachmentError(
            ErrorCode.URI_NOT_ALLOWED,
            "the photo's URI resolves to a local address: allow its network, or send the photo's bytes",
        ) from error
    except NoConnectionError as error:
        raise ServerFaultError from error
    except HTTPException as error:
        raise OSError("the server's response is not valid HTTP") from error


def _check_status(status: int) -> None:
    if status in {404, 410}:
        raise FileNotFoundError
    if 300 <= status < 400:
        raise AttachmentError(
            ErrorCode.URI_NOT_ALLOWED,
            "the photo's URI redirects: send the target of the redirect",
        )
    if status == 429 or status >= 500:
        raise ServerFaultError
    if status != 200:
        raise RefusedError(f"the server answers with status {status}")
