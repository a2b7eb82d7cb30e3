"""Requests to one FHIR server. Its token goes to its own address alone, and redirects are not followed."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import unquote, urljoin

import httpx2

from worker.fhir.content import AnotherTypeError, inline_bytes, may_be_photo
from worker.fhir.elements import Binary
from worker.fhir.json_parts import dict_of, dicts_of
from worker.fhir.references import Target, target_of
from worker.fhir.server.bodies import (
    JSON,
    MAX_JSON_BYTES,
    is_json,
    media_type_of,
    no_fhir_server,
    read_body,
    read_json,
    read_resource,
)
from worker.fhir.server.errors import FhirUnavailableError, RejectedError, TooLargeError
from worker.fhir.server.refusals import error_of

MAX_PAGES: Final = 1000
_MORE_BYTES: Final = 2**20
"""Of a Binary in JSON, besides its data."""

_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
"""Source: RFC 6838, section 4.2."""
_TEXT: Final = ("text/", "application/xhtml+xml")
_XML: Final = "application/fhir+xml"
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f\\]|(^|/)\.\.(;[^/]*)?(/|$)")
"""Of a decoded path: what a client, a proxy or a server may resolve to a place outside of the base."""


class Credentials(Protocol):
    """What authorises requests."""

    def header(self) -> Mapping[str, str]: ...

    def forget(self) -> None:
        """Fetches a new token for the next header: the server no longer accepts this one."""


class Anonymous:
    """No credentials."""

    def header(self) -> Mapping[str, str]:
        """No header."""
        return {}

    def forget(self) -> None:
        """Nothing is kept."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A resource as the server has it.

    Attributes:
        resource: as returned; empty if the server returned none.
        etag: of this version, as received; None if the server gives none.
        is_new: this request created it.
    """

    resource: Mapping[str, Any] = field(repr=False)
    target: Target | None
    etag: str | None
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The content lies at another address, to which no token of this server may go."""

    url: str = field(repr=False)


class FhirClient:
    """Safe for several threads."""

    def __init__(self, http: httpx2.Client, base: str, credentials: Credentials) -> None:
        """
        Args:
            http: with the time limit of a request; it must not follow redirects.
            base: of the server, such as `https://ehr.example/fhir`.
            credentials: for this server.
        """
        self.base = base.rstrip("/")
        self._http = http
        self._credentials = credentials

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    def serves(self, url: str) -> bool:
        """Whether an address, relative or absolute, is below the base. One that climbs or is malformed never is."""
        return self._below(url) is not None

    def read(self, target: Target) -> Stored:
        """Reads a resource.

        Raises:
            GoneError: the server states that there is no such resource, or no longer.
            NotThereError: nothing is there, which proves nothing.
            ForbiddenError: the server does not give this resource.
            FhirUnavailableError, FhirRefusedError, RejectedError: see there.
        """
        return self._stored("GET", str(target), is_about_one=True)

    def capabilities(self) -> Mapping[str, Any]:
        """The CapabilityStatement of the server. A token is sent, which the server may check.

        Raises:
            NotThereError: there is no FHIR server at the base.
            FhirUnavailableError, FhirRefusedError, RejectedError: see there.
        """
        return self._stored("GET", "metadata").resource

    def create(self, resource: Mapping[str, Any], *, unless: str | None = None) -> Stored:
        """Creates a resource.

        Args:
            resource: with its `resourceType`.
            unless: a search, such as `identifier=system|value`; what it finds is returned instead.

        Raises:
            ConflictError: the search finds several.
            FhirUnavailableError, FhirRefusedError, RejectedError: see there.
        """
        return self._stored("POST", resource["resourceType"], resource, {"If-None-Exist": unless} if unless else {})

    def update(self, resource: Mapping[str, Any], *, etag: str | None = None) -> Stored:
        """Replaces a resource.

        Args:
            resource: with its `resourceType` and `id`.
            etag: of the version that is replaced.

        Raises:
            ConflictError: the server has another version.
            FhirUnavailableError, FhirRefusedError, RejectedError: see there.
        """
        path = f"{resource['resourceType']}/{resource['id']}"
        return self._stored("PUT", path, resource, {"If-Match": etag} if etag else {})

    def search(self, query: str) -> Iterator[Mapping[str, Any]]:
        """The resources that match a search such as `Communication?status=completed`, page after page.

        Links to next pages are followed as the server gives them, on its own address only.

        Raises:
            FhirUnavailableError, FhirRefusedError, RejectedError: see there.
        """
        url: str | None = query
        for _ in range(MAX_PAGES):
            if url is None:
                return
            with self._response("GET", url, headers={"Accept": JSON}) as response:
                bundle = read_resource(response)
            for entry in dicts_of(bundle, "entry"):
                mode = dict_of(entry, "search").get("mode", "match")
                if mode == "match" and (resource := dict_of(entry, "resource")):
                    yield resource
            found = (link.get("url") for link in dicts_of(bundle, "link") if link.get("relation") == "next")
            url = next((each for each in found if isinstance(each, str)), None)
        raise RejectedError(f"a search on the FHIR server has more than {MAX_PAGES} pages: narrow it", 200)

    def content(self, url: str, media_type: str | None, *, max_bytes: int) -> bytes | Elsewhere:
        """The bytes of a Binary, or where they lie. Some servers give them raw, others in JSON only.

        Args:
            url: relative to the base, or below it.
            media_type: of the bytes, as a message states it. One that is malformed is not asked for.
            max_bytes: limit of the bytes.

        Raises:
            NotThereError: nothing is there.
            ForbiddenError: the server does not give these bytes.
            TooLargeError: there are more bytes.
            AnotherTypeError: the message states no media type, and the server states that of no photo.
            FhirUnavailableError, FhirRefusedError, RejectedError: see there.
        """
        stated = (media_type or "").partition(";")[0].strip()
        accept = f"{stated if _MEDIA_TYPE.fullmatch(stated) else 'image/*'}, */*;q=0.5"
        try:
            found = self._bytes(url, accept, max_bytes)
        except RejectedError as error:
            if error.status != httpx2.codes.NOT_ACCEPTABLE:
                raise
            found = None
        if found is None:
            found = self._bytes(url, JSON, max_bytes)
        if found is None:
            raise no_fhir_server()
        if isinstance(found, Elsewhere):
            return found
        data, actual = found
        if media_type is None and not may_be_photo(actual):
            raise AnotherTypeError
        return data

    def _below(self, url: str) -> httpx2.URL | None:
        """The address to send a request to; None if it is not surely below the base."""
        if _UNSAFE.search(unquote(url.partition("?")[0])):
            return None
        base, absolute = httpx2.URL(self.base), _join(self.base, url)
        if absolute is None or _origin(absolute) != _origin(base):
            return None
        root, path = _path(base).rstrip(b"/"), _path(absolute)
        return absolute if path.startswith(root + b"/") or path.rstrip(b"/") == root else None

    def _bytes(self, url: str, accept: str, max_bytes: int) -> tuple[bytes, str | None] | Elsewhere | None:
        """Bytes with their media type; None for a raw text, which may be the page of a proxy."""
        headers = {"Accept": accept}
        with self._response("GET", url, headers=headers, allow_redirect=True, is_about_one=True) as response:
            if response.has_redirect_location:
                try:
                    return Elsewhere(urljoin(str(response.url), response.headers["Location"]))
                except ValueError as error:
                    raise RejectedError(
                        "the FHIR server redirects to a malformed address", response.status_code
                    ) from error
            if is_json(response):
                binary = Binary.read(read_json(response, min(MAX_JSON_BYTES, 2 * max_bytes + _MORE_BYTES)))
                return inline_bytes(binary.data, max_bytes=max_bytes), binary.content_type
            media_type = media_type_of(response)
            is_text = media_type is not None and media_type.startswith(_TEXT)
            return None if is_text else (read_body(response, max_bytes), media_type)

    def _stored(
        self,
        method: str,
        path: str,
        resource: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        is_about_one: bool = False,
    ) -> Stored:
        sent = {"Accept": JSON, "Prefer": "return=representation"} | dict(headers or {})
        content = None
        if resource is not None:
            content = json.dumps(resource).encode()
            sent["Content-Type"] = JSON
        with self._response(method, path, headers=sent, content=content, is_about_one=is_about_one) as response:
            returned = _returned(response, is_written=resource is not None)
            location = _join(self.base, response.headers.get("Location", path))
            return Stored(
                resource=returned,
                target=target_of(str(location), base=str(httpx2.URL(self.base))) if location else None,
                etag=response.headers.get("ETag"),
                is_new=response.status_code == httpx2.codes.CREATED,
            )

    @contextmanager
    def _response(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        allow_redirect: bool = False,
        is_about_one: bool = False,
    ) -> Iterator[httpx2.Response]:
        """The answer to a request, whose body is not read yet. A token that the server refuses is replaced once.

        Args:
            is_about_one: a server that forbids the request may do so for this resource alone.
        """
        absolute = self._below(url)
        if absolute is None:
            raise RejectedError("the FHIR server links to another address, which is not followed", 200)
        for is_last in (False, True):
            request = self._http.build_request(
                method, absolute, headers={**headers, **self._credentials.header()}, content=content
            )
            try:
                response = self._http.send(request, stream=True)
            except httpx2.RequestError as error:
                raise FhirUnavailableError(
                    "the FHIR server does not answer: check its address and the network"
                ) from error
            try:
                if response.status_code == httpx2.codes.UNAUTHORIZED and not is_last:
                    self._credentials.forget()
                    continue
                if not (response.is_success or (allow_redirect and response.has_redirect_location)):
                    raise error_of(response, is_about_one=is_about_one)
                yield response
                return
            except httpx2.RequestError as error:
                raise FhirUnavailableError("the answer of the FHIR server was cut off: retry") from error
            finally:
                response.close()


def _join(base: str, url: str) -> httpx2.URL | None:
    """The absolute address, with dot segments resolved; None if it is malformed."""
    try:
        return httpx2.URL(urljoin(f"{base}/", url))
    except (ValueError, httpx2.InvalidURL):
        return None


def _origin(url: httpx2.URL) -> tuple[str, bytes, str, int | None]:
    return url.scheme, url.userinfo, url.host, url.port


def _path(url: httpx2.URL) -> bytes:
    return url.raw_path.partition(b"?")[0]


def _returned(response: httpx2.Response, *, is_written: bool) -> Mapping[str, Any]:
    """The resource in an answer. One that was written is stored, also if the answer has no body that can be read.

    Raises:
        FhirUnavailableError: the body is declared as what no FHIR server sends, so that nothing may be stored.
        RejectedError: the body of what was read is not a resource.
    """
    if is_written and not is_json(response):
        if media_type_of(response) != _XML and _has_text(response):
            raise no_fhir_server()
        return {}
    try:
        return read_resource(response)
    except (FhirUnavailableError, RejectedError):
        if is_written:
            return {}
        raise


def _has_text(response: httpx2.Response) -> bool:
    try:
        return bool(read_body(response, MAX_JSON_BYTES).strip())
    except TooLargeError:
        return True
