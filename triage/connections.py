"""Connections to web servers: to checked addresses only, with a time limit for everything that happens on them.

A host name is resolved once, and the connection goes to the address that was checked, which prevents DNS rebinding.
Proxies from the environment are ignored, and nothing here follows a redirect.
"""

import io
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from http.client import HTTPConnection, HTTPResponse, RemoteDisconnected
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from triage.deadline import deadline

Network: TypeAlias = IPv4Network | IPv6Network

_PORTS: Final = {"http": 80, "https": 443}
_NOT_PUBLIC: Final = tuple(
    map(ip_network, ("fec0::/10", "64:ff9b:1::/48", "::ffff:0:0:0/96", "5f00::/16", "192.0.0.0/24"))
)
"""Not public by their standards, but global for `ipaddress` in some Python releases."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE: Final = IPv6Network("::/96")


class AddressNotAllowedError(OSError):
    """A host name resolves to an address that is neither public nor in an allowed network."""


class NoConnectionError(OSError):
    """The server does not accept the connection."""


class UntrustedServerError(NoConnectionError):
    """The server does not prove its name, or TLS fails otherwise."""


@contextmanager
def connect(
    scheme: str,
    host: str,
    *,
    local_networks: Sequence[Network],
    seconds: float,
    ca_file: Path | None = None,
) -> Iterator[tuple[HTTPConnection, threading.Event]]:
    """Connects to a web server.

    Args:
        scheme: `http` or `https`.
        host: as in a URL, with an optional port.
        local_networks: allowed networks that are not public.
        seconds: time limit, after which the connection is closed.
        ca_file: certificate of the authority that signed the server's certificate; by default those of the system.

    Yields:
        The connection, and an event that is set when the time is up.

    Raises:
        AddressNotAllowedError: an address of the host is not allowed.
        NoConnectionError: no connection can be made.
        UntrustedServerError: TLS fails.
        OSError: the host cannot be resolved, or the caller's block fails.
    """
    parts = urlsplit(f"//{host}")
    name, port = parts.hostname or "", parts.port or _PORTS[scheme]
    with (
        _plain(_checked_address(name, port, local_networks), seconds) as plain,
        _cut_after(seconds, plain) as was_cut,
        _secured(plain, name, ca_file) if scheme == "https" else nullcontext(plain) as connected,
    ):
        connection = HTTPConnection(name, port)
        connection.response_class = _WholeHead
        connection.sock = connected
        yield connection, was_cut


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


class _WholeHead(HTTPResponse):
    """An answer whose head must be complete. http.client takes the end of a connection for the end of the head."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._lines = self.fp = _Lines(self.fp.detach())

    def begin(self) -> None:
        super().begin()
        self._lines.is_head = False


class _Lines(io.BufferedReader):
    is_head = True

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if self.is_head and not line.endswith(b"\n") and len(line) != size:
            raise RemoteDisconnected("the connection ended within the head of the answer")
        return line


def _checked_address(name: str, port: int, local_networks: Sequence[Network]) -> tuple[str, int]:
    """The first address of a host name, if all its addresses are allowed."""
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)]
    for text in found:
        address = ip_address(text)
        if not is_public(address) and not any(address in network for network in local_networks):
            raise AddressNotAllowedError
    return found[0], port


def _plain(address: tuple[str, int], seconds: float) -> socket.socket:
    try:
        return socket.create_connection(address, timeout=seconds)
    except OSError as error:
        raise NoConnectionError from error


def _secured(connection: socket.socket, name: str, ca_file: Path | None) -> ssl.SSLSocket:
    """Starts TLS. The certificate must be trusted and match the host name."""
    try:
        return ssl.create_default_context(cafile=ca_file).wrap_socket(connection, server_hostname=name)
    except OSError as error:
        raise UntrustedServerError from error


@contextmanager
def _cut_after(seconds: float, connection: socket.socket) -> Iterator[threading.Event]:
    """Closes a connection after a time limit, because a socket's own timeout applies to each read only."""
    with connection.dup() as same:  # wrapping in TLS takes over the original socket

        def cut() -> None:
            with suppress(OSError):  # the server has closed the connection already
                same.shutdown(socket.SHUT_RDWR)

        with deadline(seconds, cut) as was_cut:
            yield was_cut
