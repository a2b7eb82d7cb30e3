"""Photos on web servers: one request to a checked address, without redirects and with a time limit."""

import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias
from urllib.parse import quote, urlsplit

from triage.deadline import deadline
from triage.errors import AttachmentError, ErrorCode

Network: TypeAlias = IPv4Network | IPv6Network

_PORTS: Final = {"http": 80, "https": 443}
_HEADERS: Final = {"Accept-Encoding": "identity", "Connection": "close", "User-Agent": "skin-photo-triage"}
_NOT_PUBLIC: Final = tuple(
    map(ip_network, ("fec0::/10", "64:ff9b:1::/48", "::ffff:0:0:0/96", "5f00::/16", "192.0.0.0/24"))
)
"""Not public by their standards, but global for `ipaddress` in some Python releases."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE: Final = IPv6Network("::/96")


class ServerFaultError(OSError):
    """No connection to the server can be made, or it answered that it cannot send any photo now."""


@contextmanager
def open_on_web(
    scheme: str, host: str, path: str, *, local_networks: Sequence[Network], seconds: float
) -> Iterator[HTTPResponse]:
    """Opens the response to a request for a photo.

    The host name is resolved once and the connection goes to the checked address, which prevents DNS rebinding.
    Proxies from the environment are ignored.

    Args:
        scheme: `http` or `https`.
        host: as in the URI, with an optional port.
        path: without percent-encoding.
        local_networks: allowed networks that are not public.
        seconds: time limit for the whole request, after which the connection is closed.

    Raises:
        AttachmentError: the server redirects, or its address is not allowed.
        FileNotFoundError: nothing is at this path.
        ServerFaultError: the server is unreachable, not trusted, overloaded or failed.
        OSError: the server does not respond correctly.
    """
    parts = urlsplit(f"//{host}")
    name, port = parts.hostname or "", parts.port or _PORTS[scheme]
    with (
        _connect(_checked_address(name, port, local_networks), seconds) as plain,
        _cut_after(seconds, plain) as was_cut,
        _secured(plain, name) if scheme == "https" else nullcontext(plain) as connected,
    ):
        connection = HTTPConnection(name, port)
        connection.sock = connected
        try:
            connection.request("GET", quote(path), headers=_HEADERS)
            with connection.getresponse() as response:
                _check_status(response.status)
                yield response
                if response.length or was_cut.is_set():
                    raise OSError("the connection ended before the photo was complete")
        except HTTPException as error:
            raise OSError("the server's response is not valid HTTP") from error


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is public, including the IPv4 address that an IPv6 address may embed."""
    if any(address in network for network in _NOT_PUBLIC):
        return False
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if address in _NAT64 or address in _IPV4_COMPATIBLE:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner:
            return is_public(inner)
    return address.is_global and not address.is_multicast


def _checked_address(name: str, port: int, local_networks: Sequence[Network]) -> tuple[str, int]:
    """The first address of a host name, if all its addresses are allowed."""
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)]
    for text in found:
        address = ip_address(text)
        if not is_public(address) and not any(address in network for network in local_networks):
            raise AttachmentError(
                ErrorCode.URI_NOT_ALLOWED,
                "the photo's URI resolves to a local address: allow its network, or send the photo's bytes",
            )
    return found[0], port


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
        raise OSError("the server did not send the photo")


def _connect(address: tuple[str, int], seconds: float) -> socket.socket:
    try:
        return socket.create_connection(address, timeout=seconds)
    except OSError as error:
        raise ServerFaultError from error


def _secured(connection: socket.socket, name: str) -> ssl.SSLSocket:
    """Starts TLS. The certificate must be trusted by the system and match the host name."""
    try:
        return ssl.create_default_context().wrap_socket(connection, server_hostname=name)
    except OSError as error:
        raise ServerFaultError from error


@contextmanager
def _cut_after(seconds: float, connection: socket.socket) -> Iterator[threading.Event]:
    """Closes a connection after a time limit, because a socket's own timeout applies to each read only."""
    with connection.dup() as same:  # wrapping in TLS takes over the original socket

        def cut() -> None:
            with suppress(OSError):  # the server has closed the connection already
                same.shutdown(socket.SHUT_RDWR)

        with deadline(seconds, cut) as was_cut:
            yield was_cut
