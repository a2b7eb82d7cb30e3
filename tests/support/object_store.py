"""A small S3 over HTTP, in memory, that can refuse, lose its bucket, be overloaded or not answer.

The client is the real one, s3fs with botocore. A full server such as moto's would not be slow or overloaded on request.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest


class Fault(Enum):
    """What the server answers to every request: a status with a code of S3, or nothing until the fault ends."""

    REFUSED = (403, "AccessDenied")
    NO_BUCKET = (404, "NoSuchBucket")
    OVERLOADED = (503, "SlowDown")
    UNKNOWN = (501, "NotImplemented")
    SLOW = (0, "")


class ObjectStore:
    """The objects of one bucket by key, the fault in force, and the number of requests.

    `configuration` has the XML of the bucket's `versioning` and `lifecycle`.
    """

    def __init__(self, url: str, bucket: str) -> None:
        self.url = url
        self.bucket = bucket
        self.objects: dict[str, bytes] = {}
        self.configuration: dict[str, str] = {"versioning": "<VersioningConfiguration/>"}
        self.fault: Fault | None = None
        self.requests = 0
        self.over = threading.Event()

    @contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        self.fault = fault
        self.over.clear()
        try:
            yield
        finally:
            self.fault = None
            self.over.set()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # the client waits for permission before it sends a body
    store: ObjectStore

    def _answer(self) -> None:
        store = self.store
        store.requests += 1
        body = self._body()
        if store.fault is Fault.SLOW:
            store.over.wait(60)
            self.close_connection = True
            return
        if store.fault is not None:
            self._error(*store.fault.value)
            return
        parts = urlsplit(self.path)
        _, bucket, key = [*unquote(parts.path).split("/", 2), "", ""][:3]
        if bucket != store.bucket:
            self._error(404, "NoSuchBucket")
        elif parts.query in store.configuration:
            self._send(200, store.configuration[parts.query].encode())
        elif parts.query == "lifecycle":
            self._error(404, "NoSuchLifecycleConfiguration")
        elif not key:
            self._list(parse_qs(parts.query))
        elif self.command == "PUT":
            store.objects[key] = body
            self._send(200, b"", ETag='"1"')
        elif self.command == "DELETE":
            store.objects.pop(key, None)
            self._send(204, b"")
        elif key not in store.objects:
            self._error(404, "NoSuchKey")
        else:
            self._object(store.objects[key])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):  # do_GET, do_HEAD, do_PUT, do_DELETE
            return self._answer
        raise AttributeError(name)

    def _object(self, data: bytes) -> None:
        headers = {"ETag": '"1"', "Last-Modified": "Sun, 01 Nov 2026 00:00:00 GMT"}
        if asked := self.headers.get("Range"):
            first, last = (int(number) for number in asked.removeprefix("bytes=").split("-"))
            part = data[first : last + 1]
            headers["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(data)}"
            self._send(206, part, **headers)
        else:
            self._send(200, data, **headers)

    def _list(self, query: dict[str, list[str]]) -> None:
        prefix = query.get("prefix", [""])[0]
        found = [key for key in sorted(self.store.objects) if key.startswith(prefix)]
        items = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.store.objects[key])}</Size><ETag>1</ETag>"
            "<LastModified>2026-11-01T00:00:00Z</LastModified><StorageClass>STANDARD</StorageClass></Contents>"
            for key in found
        )
        text = (
            f"<ListBucketResult><Name>{self.store.bucket}</Name><Prefix>{escape(prefix)}</Prefix>"
            f"<KeyCount>{len(found)}</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{items}"
            "</ListBucketResult>"
        )
        self._send(200, text.encode())

    def _error(self, status: int, code: str) -> None:
        self._send(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        """The body of a request, also in the chunks with checksums of newer S3 clients."""
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
            return data
        decoded = b""
        while data:
            size, _, rest = data.partition(b"\r\n")
            n_bytes = int(size.split(b";")[0], 16)
            if n_bytes == 0:
                break
            decoded, data = decoded + rest[:n_bytes], rest[n_bytes + 2 :]
        return decoded

    def log_message(self, *_: Any) -> None:
        """Prints nothing."""


@pytest.fixture(scope="module")
def object_store() -> Iterator[ObjectStore]:
    """A bucket named `photos`. The environment of the process names its server, as an operator does."""
    import s3fs

    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server, pytest.MonkeyPatch.context() as patch:
        store = ObjectStore(f"http://127.0.0.1:{server.server_port}", "photos")
        _Handler.store = store
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name, value in {
            "AWS_ENDPOINT_URL": store.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        yield store
        s3fs.S3FileSystem.clear_instance_cache()
        server.shutdown()
