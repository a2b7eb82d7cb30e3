"""Photos on web servers: one request to an address that was checked, no redirect, and no longer than allowed."""

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
"""Local by their standards, and global by Python's `ipaddress`, some of them since releases apart."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE: Final = IPv6Network("::/96")


@contextmanager
def open_on_web(
    scheme: str, host: str, path: str, *, local_networks: Sequence[Network], seconds: float
) -> Iterator[HTTPResponse]:
    """The body of a photo on a web server.

    The name is looked up once, and the connection goes to the very address that was checked: a name that changes
    its address between the two gains nothing. Proxies of the environment are not used.

    Args:
        scheme: `http` or `https`.
        host: as in the URI, with its port where it has one.
        path: decoded.
        local_networks: the only ones that are not public and may be connected to.
        seconds: for all of it; then the connection is cut.

    Raises:
        AttachmentError: nothing is there, it redirects, or its address is not allowed.
        OSError: the server does not answer as it should.
    """
    parts = urlsplit(f"//{host}")
    name, port = parts.hostname or "", parts.port or _PORTS[scheme]
    with (
        socket.create_connection(_checked_address(name, port, local_networks), timeout=seconds) as plain,
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
                    raise OSError("the connection ended before the photo did")
        except HTTPException as error:
            raise OSError("the server does not speak HTTP as it should") from error


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address belongs to the world outside, also by the IPv4 address that an IPv6 one may carry."""
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
    """The first address of a name, if every one of them is allowed."""
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
            ErrorCode.URI_NOT_ALLOWED, "the photo's URI redirects, which is not followed: send where it leads"
        )
    if status != 200:
        raise OSError("the server refuses to send the photo")


def _secured(connection: socket.socket, name: str) -> ssl.SSLSocket:
    """The certificate must be one that the system trusts, for this very name."""
    return ssl.create_default_context().wrap_socket(connection, server_hostname=name)


@contextmanager
def _cut_after(seconds: float, connection: socket.socket) -> Iterator[threading.Event]:
    """Ends a connection for good: each read has a time limit of its own, but a server may send a byte at a time."""
    with connection.dup() as same:  # TLS takes the first one over

        def cut() -> None:
            with suppress(OSError):  # the server was faster
                same.shutdown(socket.SHUT_RDWR)

        with deadline(seconds, cut) as was_cut:
            yield was_cut
