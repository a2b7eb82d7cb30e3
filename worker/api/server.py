"""The server process: sockets, TLS, time limits of connections, and an orderly end."""

import asyncio
import resource
import signal
import socket
import ssl
from collections.abc import Callable, Mapping
from types import FrameType, MappingProxyType
from typing import Final

import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from triage.domain.clients import is_loopback
from triage.errors import UsageError
from triage.reports.announcements import Announcements
from worker.api.app import Part, create_app
from worker.logging import release
from worker.services import Services
from worker.settings import ApiSettings

log = structlog.get_logger(__name__)

_BACKLOG: Final = 256
_END_SECONDS: Final = 15
"""How long requests in progress may take when the process ends."""

_MAX_HEAD_BYTES: Final = 2**16
_FILES_PER_CONNECTION: Final = 2
"""The connection, and a photo that arrives."""

_OTHER_FILES: Final = 256


def serve(
    services: Services,
    *,
    behind_proxy: bool,
    parts: Mapping[str, Part] = MappingProxyType({}),
    started: Callable[[str], object] = lambda _: None,
) -> None:
    """Serves the interface until the process receives SIGTERM or SIGINT, then finishes the requests in progress.

    Args:
        services: of this process.
        behind_proxy: a proxy on this or another host terminates TLS.
        parts: further applications by their path.
        started: called with the URL when the port is open.

    Raises:
        UsageError: the address needs TLS, the certificate cannot be read, or the port cannot be opened.
        ListenUrlError: the database cannot be listened to with this URL.
    """
    settings = services.settings.api
    check_address(settings, behind_proxy=behind_proxy)
    tls = tls_context(settings)
    listener = open_port(settings)
    port = listener.getsockname()[1]
    url = settings.public_url or _own_url(settings, port)
    app = create_app(services, url, parts)
    if settings.listen_url is not None:
        app.state.shared.announcements.check()
    config = _Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="on",
        loop="asyncio",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=max(1, int(settings.idle_seconds)),
        timeout_graceful_shutdown=_END_SECONDS,
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
    )
    config.load()
    config.ssl = tls
    config.idle_seconds, config.max_connections = settings.idle_seconds, settings.max_connections
    allow_files(_FILES_PER_CONNECTION * settings.max_connections + _OTHER_FILES)
    log.info("part.started", version=release(), kind="api", port=port)
    started(url)
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again when it has ended
        signal.signal(number, lambda *_: None)
    _Server(config, app.state.shared.announcements).run(sockets=[listener])


def _own_url(settings: ApiSettings, port: int) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'http' if settings.certificate_file is None else 'https'}://{host}:{port}"


def check_address(settings: ApiSettings, *, behind_proxy: bool) -> None:
    """Refuses to send photos and keys in the clear over a network.

    Raises:
        UsageError: the address is not that of this host alone, and there is neither TLS nor a proxy.
    """
    if not is_loopback(settings.host) and settings.certificate_file is None and not behind_proxy:
        raise UsageError(
            "the listen address can be reached from other hosts: set a TLS certificate and its key, "
            "or say --behind-proxy if a proxy terminates TLS"
        )


def tls_context(settings: ApiSettings) -> ssl.SSLContext | None:
    """The TLS configuration of the server: TLS 1.2 or newer; None without a certificate.

    Raises:
        UsageError: the certificate or its key cannot be read, or they do not belong together.
    """
    if settings.certificate_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.certificate_file, settings.key_file, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise UsageError(
            "the TLS certificate or its key cannot be read, or they do not belong together: check the files"
        ) from error
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted")  # by default, OpenSSL would ask on the terminal


def open_port(settings: ApiSettings) -> socket.socket:
    """
    Raises:
        UsageError: the port cannot be opened.
    """
    try:
        [family, *_], *_ = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"cannot open port {settings.port} on the listen address: choose a free port and an address of this host"
        ) from error


def allow_files(number: int) -> None:
    """Raises the limit of open files of this process, as far as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Server(uvicorn.Server):
    """Ends requests that wait for a decision as soon as the process is asked to end."""

    def __init__(self, config: uvicorn.Config, announcements: Announcements) -> None:
        super().__init__(config)
        self._announcements = announcements

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._announcements.close()  # Python runs this between two steps of the event loop


class _Config(uvicorn.Config):
    """
    Attributes:
        idle_seconds: time limit for the head of a request.
        max_connections: further ones are closed.
    """

    idle_seconds: float
    max_connections: int


class _Protocol(H11Protocol):
    """HTTP/1.1 with a time limit for the head of a request, which uvicorn lacks, and for the rest of an unread body."""

    config: _Config
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.config.max_connections:
            self.transport.close()
        else:
            self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._await_head()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        """Later pieces of the same head do not extend its time."""
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.config.idle_seconds, self._head_is_late)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        self.transport.close()
