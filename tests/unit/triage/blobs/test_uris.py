import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from tests.support.certificates import make_certificate
from triage.blobs.uris import UriPolicy
from triage.connections import is_public
from triage.errors import AttachmentError, ErrorCode, InvalidUriRootError, StorageFaultError, TransientError

DATA = b"the bytes of a photo"
ROOTS = ["file:///srv/inbox", "s3://photos/in", "https://images.example.org/in"]
LOOPBACK = IPv4Network("127.0.0.0/8")


def _policy(root: Path) -> UriPolicy:
    return UriPolicy([root.as_uri()], max_bytes=100)


def _code(policy: UriPolicy, uri: str) -> ErrorCode:
    with pytest.raises((AttachmentError, TransientError)) as raised:
        policy.fetch(uri)
    assert isinstance(raised.value, AttachmentError | TransientError)
    assert not uri or uri not in str(raised.value)
    return raised.value.code


@pytest.mark.parametrize(
    "uri",
    [
        "file:///srv/inbox/a.jpg",
        "file:///srv/inbox/deep/er/a.jpg",
        "FILE:///srv/inbox/a%20b.jpg",
        "s3://photos/in/a.jpg",
        "s3://photos/in/50%25.jpg",
        "https://images.example.org/in/a.jpg",
        "https://IMAGES.example.org/in/a%20b.jpg",
    ],
)
def test_uri_below_a_root_is_allowed(uri: str) -> None:
    UriPolicy(ROOTS, max_bytes=1).check(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "file:///srv/inbox2/a.jpg",
        "file:///srv/a.jpg",
        "file:///srv/inbox/../a.jpg",
        "file:///srv/inbox/%2e%2e/a.jpg",
        "file:///srv/inbox/%2E%2E%2Fa.jpg",
        "file://elsewhere/srv/inbox/a.jpg",
        "http://photos/in/a.jpg",
        "s3://other/in/a.jpg",
        "s3://photos/in/a.jpg?versionId=1",
        "s3://user@photos/in/a.jpg",
        "/srv/inbox/a.jpg",
        "file:///srv/inbox/a.jpg%00.png",
        "file:///srv/inbox/%252e%252e/a.jpg",
        "file:///srv/inbox/%25252e%25252e%25252fa.jpg",
        "file:///srv/inbox/..%5ca.jpg",
        "file:///srv/inbox\\..\\a.jpg",
        "file:///srv/in\nbox/a.jpg",
        " file:///srv/inbox/a.jpg",
        "file:///srv/inbox/%ff.jpg",
        "file:///srv/inbox/a.jpg#x",
        "s3://photos/in%2fa.jpg",
        "s3://photos/in/%2e%2e/a.jpg",
        "ftp://photos/in/a.jpg",
        "https://images.example.org/public/a.jpg",
        "https://images.example.org:8443/in/a.jpg",
        "https://images.example.org@127.0.0.1/in/a.jpg",
        "https://images.example.org.evil.example/in/a.jpg",
        "https://127.0.0.1/in/a.jpg",
        "https://2130706433/in/a.jpg",
        "https://0177.0.0.1/in/a.jpg",
        "https://0x7f.1/in/a.jpg",
        "https://[::1]/in/a.jpg",
        "https://[::ffff:169.254.169.254]/in/a.jpg",
        "https://[::1",
        "https://images.example.org:port/in/a.jpg",
        "http://images.example.org/in/a.jpg",
        "simplecache::https://images.example.org/in/a.jpg",
        "",
    ],
)
def test_uri_is_rejected_when_it_is_not_below_a_root(uri: str) -> None:
    with pytest.raises(AttachmentError) as raised:
        UriPolicy(ROOTS, max_bytes=1).check(uri)
    assert raised.value.code is ErrorCode.URI_NOT_ALLOWED


def test_no_uri_is_allowed_when_there_are_no_roots(tmp_path: Path) -> None:
    assert _code(UriPolicy([], max_bytes=1), tmp_path.as_uri()) is ErrorCode.URI_NOT_ALLOWED


def test_photo_is_fetched_from_its_uri(tmp_path: Path) -> None:
    (tmp_path / "a b.jpg").write_bytes(DATA)

    assert _policy(tmp_path).fetch((tmp_path / "a b.jpg").as_uri()) == DATA


def test_symbolic_link_is_not_followed_when_it_leads_out_of_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.jpg").write_bytes(DATA)
    (root / "link.jpg").symlink_to(tmp_path / "secret.jpg")

    assert _code(_policy(root), (root / "link.jpg").as_uri()) is ErrorCode.URI_NOT_ALLOWED


@pytest.mark.parametrize(("name", "code"), [("missing.jpg", ErrorCode.NOT_FOUND), ("", ErrorCode.NOT_FOUND)])
def test_missing_file_and_folder_are_not_found(tmp_path: Path, name: str, code: ErrorCode) -> None:
    (tmp_path / "other.jpg").write_bytes(DATA)

    assert _code(_policy(tmp_path), (tmp_path / name).as_uri()) is code


@pytest.mark.parametrize("is_left", [True, False])
def test_missing_file_is_a_storage_fault_when_its_share_is_not_mounted(tmp_path: Path, is_left: bool) -> None:
    """The mount point is left, empty, or is missing too."""
    share = tmp_path / "share"
    if is_left:
        share.mkdir()
    policy = UriPolicy([tmp_path.as_uri(), share.as_uri()], max_bytes=100)

    with pytest.raises(StorageFaultError):
        policy.fetch((share / "a.jpg").as_uri())
    assert policy.missing_shares() == (not is_left)


def test_file_above_the_limit_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "exact.jpg").write_bytes(b"x" * 100)
    (tmp_path / "large.jpg").write_bytes(b"x" * 101)

    assert len(_policy(tmp_path).fetch((tmp_path / "exact.jpg").as_uri())) == 100
    assert _code(_policy(tmp_path), (tmp_path / "large.jpg").as_uri()) is ErrorCode.TOO_LARGE


def test_photo_is_retried_when_its_file_cannot_be_read() -> None:
    with pytest.raises(StorageFaultError) as raised:
        _policy(Path("/proc/self")).fetch("file:///proc/self/mem")  # exists, and reading it fails
    assert raised.value.code is ErrorCode.FETCH_FAILED


@pytest.mark.parametrize("name", ["loop", "photo.jpg/below", "x" * 300])
def test_photo_is_not_found_when_its_path_can_name_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "photo.jpg").write_bytes(b"x")

    assert _code(_policy(tmp_path), (tmp_path / name).as_uri()) is ErrorCode.NOT_FOUND


def test_symbolic_link_within_the_root_is_followed_even_if_the_root_is_a_link(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(DATA)
    (folder / "link.jpg").symlink_to("a.jpg")
    (tmp_path / "root").symlink_to(folder)

    assert _policy(tmp_path / "root").fetch((tmp_path / "root" / "link.jpg").as_uri()) == DATA


def test_linked_folder_is_not_followed_when_it_leads_out_of_the_root(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "a.jpg").write_bytes(DATA)
    (root / "folder").symlink_to(outside)

    assert _code(_policy(root), (root / "folder" / "a.jpg").as_uri()) is ErrorCode.URI_NOT_ALLOWED


def test_named_pipe_is_not_found_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")

    assert _code(_policy(tmp_path), (tmp_path / "pipe.jpg").as_uri()) is ErrorCode.NOT_FOUND


def test_object_is_read_by_its_literal_name_without_following_a_chain() -> None:
    bucket = uuid4().hex
    store = fsspec.filesystem("memory")
    store.pipe_file(f"{bucket}/in/50%25.jpg", DATA)
    policy = UriPolicy([f"memory://{bucket}/in"], max_bytes=100)

    assert policy.fetch(f"memory://{bucket}/in/50%25.jpg") == DATA
    assert _code(policy, f"memory://{bucket}/in/x::file:///etc/passwd") is ErrorCode.NOT_FOUND


def test_photo_is_retried_when_the_driver_of_its_store_is_missing() -> None:
    assert _code(UriPolicy(["abfss://photos/in"], max_bytes=1), "abfss://photos/in/a.jpg") is ErrorCode.FETCH_FAILED


@pytest.mark.parametrize(
    "root",
    [
        "file:///",
        "file:////",
        "file://///",
        "file:/",
        "file:",
        "file://",
        "FILE:///",
        "file:///.",
        "file:///./",
        "file:////./.",
        "file:///%2e",
        "file:///%2F",
        "file:///%2f%2f",
        "file://localhost",
        "file://localhost/",
        "file://LOCALHOST//",
        "file:///proc/self/root",
        "file:///srv/..",
        "file:.",
        "file:srv/inbox",
        "file://elsewhere/srv/inbox",
    ],
)
def test_root_folder_of_the_machine_is_refused_in_every_spelling(root: str) -> None:
    with pytest.raises(InvalidUriRootError, match="root folder / is not allowed"):
        UriPolicy([root], max_bytes=100)


@pytest.mark.parametrize("prefix", ["file://", "file:", "file:///", "file:////", "file:///.", "file://localhost"])
def test_folder_is_the_same_root_in_every_spelling(tmp_path: Path, prefix: str) -> None:
    (tmp_path / "root").mkdir()
    for folder in (tmp_path, tmp_path / "root"):
        (folder / "a.jpg").write_bytes(DATA)
    policy = UriPolicy([f"{prefix}{tmp_path}/root"], max_bytes=100)

    for spelling in ("file://", "file:", "file:///", "file://localhost", prefix):
        assert policy.fetch(f"{spelling}{tmp_path}/root/a.jpg") == DATA
        assert _code(policy, f"{spelling}{tmp_path}/a.jpg") is ErrorCode.URI_NOT_ALLOWED
    assert _code(policy, "file:////etc/passwd") is ErrorCode.URI_NOT_ALLOWED


@pytest.mark.parametrize(
    "root",
    ["/srv/inbox", "file:///", "https:///in", "https://user:secret@host/in", "ftp://host/in", "s3://b/in/../..", "[x"],
)
def test_malformed_root_is_rejected_by_an_error_without_its_value(root: str) -> None:
    with pytest.raises(InvalidUriRootError, match="invalid URI root") as raised:
        UriPolicy([root], max_bytes=1)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:93.184.215.14", True),
        ("::127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::5db8:d70e", True),
        ("2002:7f00:1::", False),
        ("2001:0:0:0:0:0:80ff:fffe", False),
        ("fec0::1", False),
        ("64:ff9b:1::7f00:1", False),
        ("::ffff:0:7f00:1", False),
        ("5f00::1", False),
        ("192.0.0.8", False),
    ],
)
def test_address_is_classified_in_every_spelling(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public


class _Photos(BaseHTTPRequestHandler):
    """A web server with photos and with all kinds of failures."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        match self.path.partition("?")[0].rsplit("/", 1)[1]:
            case "a%20b.jpg":
                self._send(200, {"Content-Length": str(len(DATA))}, DATA)
            case "elsewhere.jpg":
                self._send(302, {"Location": f"http://169.254.169.254/{self.path}"})
            case "missing.jpg":
                self._send(404)
            case "busy.jpg":
                self._send(503)
            case "cut.jpg":
                self._send(200, {"Content-Length": "50"}, DATA)
            case "endless.jpg":
                self._send(200)
                self._go_on(b"x" * 65536)
            case "dripping.jpg":
                self._send(200)
                self._go_on(b"x", pause_seconds=0.05)
            case "boastful.jpg":
                self._send(200, {"Content-Length": str(10**15)}, DATA)
                self._go_on(b"x" * 65536)

    def _send(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _go_on(self, chunk: bytes, *, pause_seconds: float = 0) -> None:
        pause = threading.Event()
        try:
            while True:
                self.wfile.write(chunk)
                pause.wait(pause_seconds)
        except OSError:  # the client closed the connection
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _serving(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[str]]]:
    """A real web server on the loopback interface: its port, and the requested paths."""
    handler = type("Handler", (_Photos,), {"asked": []})
    running = ThreadingHTTPServer((host, 0), handler)
    if tls is not None:
        running.socket = tls.wrap_socket(running.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield running.server_port, handler.asked  # type: ignore[attr-defined]
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """The root of a web server with photos, and the requested paths."""
    with _serving() as (port, asked):
        yield f"http://127.0.0.1:{port}/in", asked


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_photo_is_fetched_over_tls_only_when_the_certificate_is_trusted_for_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = make_certificate(tmp_path, "photos")  # self-signed, for localhost and 127.0.0.1
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with _serving(tls=tls) as (port, _), _serving("127.0.0.2", tls) as (other_port, _):
        root, misnamed = f"https://localhost:{port}/in", f"https://127.0.0.2:{other_port}/in"
        with pytest.raises(StorageFaultError):  # not trusted yet
            _web_policy(root).fetch(f"{root}/a%20b.jpg")

        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert _web_policy(root).fetch(f"{root}/a%20b.jpg") == DATA
        with pytest.raises(StorageFaultError):
            _web_policy(misnamed).fetch(f"{misnamed}/a%20b.jpg")


def test_server_that_cannot_be_reached_is_a_fault_of_the_storage() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as others:
        for _ in range(4):  # then the system answers no further connection
            other = others.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        root = f"http://127.0.0.1:{full.getsockname()[1]}/in"

        with pytest.raises(StorageFaultError):
            _web_policy(root, fetch_seconds=0.3).fetch(f"{root}/a.jpg")


def _web_policy(root: str, **settings: float) -> UriPolicy:
    return UriPolicy([root], max_bytes=10**6, local_networks=[LOOPBACK], **settings)


def test_photo_is_fetched_from_a_web_server(server: tuple[str, list[str]]) -> None:
    root, asked = server

    assert _web_policy(root).fetch(f"{root}/a%20b.jpg") == DATA
    assert asked == ["/in/a%20b.jpg"]


def test_link_with_a_signature_is_followed_to_an_allowed_root_only(server: tuple[str, list[str]]) -> None:
    root, asked = server
    policy = _web_policy(root)

    assert policy.fetch_link(f"{root}/a%20b.jpg?signature=a%2Fb&until=1") == DATA
    assert asked == ["/in/a%20b.jpg?signature=a%2Fb&until=1"]
    for link in (f"{root}/a%20b.jpg?a#b", f"{root}/a.jpg?a b", "http://127.0.0.1:1/a.jpg?a=1"):
        with pytest.raises(AttachmentError, match="allowed root"):
            policy.fetch_link(link)
    with pytest.raises(AttachmentError, match="allowed root"):
        policy.fetch(f"{root}/a%20b.jpg?signature=1")  # a sender's URI has no query


def test_link_to_a_share_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(DATA)
    policy = UriPolicy([tmp_path.as_uri()], max_bytes=10**6)

    assert policy.fetch(f"{tmp_path.as_uri()}/1.jpg") == DATA
    with pytest.raises(AttachmentError, match="allowed root"):
        policy.fetch_link(f"{tmp_path.as_uri()}/1.jpg")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0177.0.0.1", "[::ffff:127.0.0.1]"])
def test_local_server_is_not_contacted_when_its_network_is_not_allowed(
    server: tuple[str, list[str]], host: str
) -> None:
    root = server[0].replace("127.0.0.1", host)

    assert _code(UriPolicy([root], max_bytes=100), f"{root}/a%20b.jpg") is ErrorCode.URI_NOT_ALLOWED
    assert server[1] == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("elsewhere.jpg", ErrorCode.URI_NOT_ALLOWED),
        ("missing.jpg", ErrorCode.NOT_FOUND),
        ("busy.jpg", ErrorCode.FETCH_FAILED),
        ("cut.jpg", ErrorCode.FETCH_FAILED),
        ("endless.jpg", ErrorCode.TOO_LARGE),
        ("boastful.jpg", ErrorCode.TOO_LARGE),
    ],
)
def test_response_without_a_photo_gives_its_error_code(
    server: tuple[str, list[str]], name: str, code: ErrorCode
) -> None:
    root, asked = server

    assert _code(_web_policy(root), f"{root}/{name}") is code
    assert asked == [f"/in/{name}"]


def test_fetch_fails_when_the_server_sends_single_bytes_slowly(server: tuple[str, list[str]]) -> None:
    root, _ = server

    assert _code(_web_policy(root, fetch_seconds=0.5), f"{root}/dripping.jpg") is ErrorCode.FETCH_FAILED


def test_fetch_fails_when_the_server_never_responds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        root = f"http://127.0.0.1:{silent.getsockname()[1]}/in"
        assert _code(_web_policy(root, fetch_seconds=0.5), f"{root}/a.jpg") is ErrorCode.FETCH_FAILED


@pytest.mark.parametrize("answer", [b"\0" * 100, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"])
def test_fetch_fails_when_the_response_is_not_http(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as odd:
        thread = threading.Thread(target=lambda: _answer_once(odd, answer))
        thread.start()
        root = f"http://127.0.0.1:{odd.getsockname()[1]}/in"
        assert _code(_web_policy(root), f"{root}/a.jpg") is ErrorCode.FETCH_FAILED
        thread.join()


def _answer_once(server: socket.socket, answer: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(answer)
