from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from triage.domain import AttachmentId, ClaimedAttachment, new_id
from triage.errors import AttachmentError, ErrorCode, ServiceUnavailableError, TransientError
from triage.storage.blobs import BlobStore, PhotoSource, UriPolicy, sha256_of

DATA = b"the bytes of a photo"


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder, and a store behind a protocol as object stores are."""
    return str(tmp_path / "blobs") if request.param == "folder" else f"memory://{uuid4().hex}"


def _policy(root: Path) -> UriPolicy:
    return UriPolicy([root.as_uri()], max_bytes=100)


def _code(policy: UriPolicy, uri: str) -> ErrorCode:
    with pytest.raises(AttachmentError) as raised:
        policy.fetch(uri)
    assert uri not in str(raised.value)
    return raised.value.code


def test_bytes_come_back_by_their_hash(url: str) -> None:
    store = BlobStore(url)
    sha256 = store.put(DATA)

    assert sha256 == sha256_of(DATA)
    assert store.put(DATA) == sha256
    assert BlobStore(url).get(sha256) == DATA
    store.check()


def test_bytes_that_changed_are_corrupt(url: str) -> None:
    store = BlobStore(url)
    sha256 = store.put(DATA)
    with fsspec.open(f"{url}/{sha256[:2]}/{sha256}", "wb") as file:
        file.write(b"other bytes")

    with pytest.raises(AttachmentError) as raised:
        store.get(sha256)
    assert raised.value.code is ErrorCode.CORRUPT


def test_half_written_bytes_are_written_again(url: str) -> None:
    store = BlobStore(url)
    sha256 = store.put(DATA)
    with fsspec.open(f"{url}/{sha256[:2]}/{sha256}", "wb") as file:
        file.write(DATA[:5])

    store.put(DATA)

    assert store.get(sha256) == DATA


def test_bytes_that_were_purged_are_not_found(url: str) -> None:
    with pytest.raises(AttachmentError) as raised:
        BlobStore(url).get(sha256_of(DATA))
    assert raised.value.code is ErrorCode.NOT_FOUND


def test_store_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = BlobStore(str(tmp_path / "file"))

    with pytest.raises(ServiceUnavailableError, match="TRIAGE_BLOBS__URL"):
        store.put(DATA)
    with pytest.raises(ServiceUnavailableError, match="TRIAGE_BLOBS__URL"):
        store.check()


def test_store_of_an_unknown_scheme_names_the_remedy() -> None:
    with pytest.raises(ServiceUnavailableError, match="fsspec driver"):
        BlobStore("nonsense://bucket")


@pytest.mark.parametrize(
    "uri",
    [
        "file:///srv/inbox/a.jpg",
        "file:///srv/inbox/deep/er/a.jpg",
        "FILE:///srv/inbox/a%20b.jpg",
        "s3://photos/in/a.jpg",
    ],
)
def test_uri_below_a_root_is_allowed(uri: str) -> None:
    UriPolicy(["file:///srv/inbox", "s3://photos/in"], max_bytes=1).check(uri)


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
        "",
    ],
)
def test_other_uri_is_refused(uri: str) -> None:
    with pytest.raises(AttachmentError) as raised:
        UriPolicy(["file:///srv/inbox", "s3://photos/in"], max_bytes=1).check(uri)
    assert raised.value.code is ErrorCode.URI_NOT_ALLOWED


def test_no_uri_is_allowed_when_there_are_no_roots(tmp_path: Path) -> None:
    assert _code(UriPolicy([], max_bytes=1), tmp_path.as_uri()) is ErrorCode.URI_NOT_ALLOWED


def test_photo_is_fetched_from_its_uri(tmp_path: Path) -> None:
    (tmp_path / "a b.jpg").write_bytes(DATA)

    assert _policy(tmp_path).fetch((tmp_path / "a b.jpg").as_uri()) == DATA


def test_link_out_of_the_root_is_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.jpg").write_bytes(DATA)
    (root / "link.jpg").symlink_to(tmp_path / "secret.jpg")

    assert _code(_policy(root), (root / "link.jpg").as_uri()) is ErrorCode.URI_NOT_ALLOWED


@pytest.mark.parametrize(("name", "code"), [("missing.jpg", ErrorCode.NOT_FOUND), ("", ErrorCode.NOT_FOUND)])
def test_missing_file_and_folder_are_not_found(tmp_path: Path, name: str, code: ErrorCode) -> None:
    assert _code(_policy(tmp_path), (tmp_path / name).as_uri()) is code


def test_file_above_the_limit_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "exact.jpg").write_bytes(b"x" * 100)
    (tmp_path / "large.jpg").write_bytes(b"x" * 101)

    assert len(_policy(tmp_path).fetch((tmp_path / "exact.jpg").as_uri())) == 100
    assert _code(_policy(tmp_path), (tmp_path / "large.jpg").as_uri()) is ErrorCode.TOO_LARGE


def test_attachment_without_bytes_and_uri_is_not_found(tmp_path: Path) -> None:
    source = PhotoSource(BlobStore(str(tmp_path)), _policy(tmp_path))

    with pytest.raises(AttachmentError) as raised:
        source.fetch(ClaimedAttachment(AttachmentId(new_id()), None, None, 1))
    assert raised.value.code is ErrorCode.NOT_FOUND


def test_place_that_does_not_answer_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")  # reading it fails, and not because nothing is there

    with pytest.raises(TransientError) as raised:
        _policy(tmp_path).fetch((tmp_path / "loop").as_uri())
    assert raised.value.code is ErrorCode.FETCH_FAILED
