"""Photos in S3: the real client, and a server that works, refuses, has lost its bucket, is overloaded or too slow."""

from math import inf
from uuid import uuid4

import pytest

from tests.support.object_store import Fault, ObjectStore
from triage.blobs.store import BlobStore
from triage.blobs.uris import UriPolicy
from triage.errors import AttachmentError, BlobStoreUnavailableError, ErrorCode, StorageFaultError
from triage.files.hashing import sha256_of

DATA = b"the bytes of a photo"
SHORT = 1.0
"""Time limit of calls that are to fail; others may take longer on a loaded machine."""


def _store() -> BlobStore:
    return BlobStore(f"s3://photos/{uuid4().hex}")


def _policy(object_store: ObjectStore, *, max_bytes: int = 100, fetch_seconds: float = 30) -> UriPolicy:
    object_store.objects["in/a.jpg"] = DATA
    object_store.objects["in/empty.jpg"] = b""
    return UriPolicy(["s3://photos/in"], max_bytes=max_bytes, fetch_seconds=fetch_seconds)


def test_store_in_s3_holds_bytes_and_its_marker(object_store: ObjectStore) -> None:
    store, id_ = _store(), uuid4()
    assert store.marker() is None

    sha256 = store.put(DATA)
    store.mark(id_)
    store.check()

    assert store.get(sha256) == DATA
    assert store.marker() == id_
    assert store.names(sha256[:2]) == [sha256]
    store.remove(sha256)
    assert store.names(sha256[:2]) == []
    assert store.folder is None


@pytest.mark.parametrize("fault", Fault)
def test_photo_is_not_lost_when_the_store_in_s3_fails(object_store: ObjectStore, fault: Fault) -> None:
    url = f"s3://photos/{uuid4().hex}"
    sha256 = BlobStore(url).put(DATA)
    store = BlobStore(url, seconds=30 if fault is Fault.NO_BUCKET else SHORT)
    with object_store.failing(fault):
        with pytest.raises(StorageFaultError):
            store.get(sha256)
        with pytest.raises(BlobStoreUnavailableError):
            store.put(b"other bytes")
        if fault is Fault.NO_BUCKET:
            assert store.marker() is None  # as in an empty volume
        else:
            with pytest.raises(BlobStoreUnavailableError):
                store.marker()

    assert BlobStore(url).get(sha256) == DATA


def test_lost_object_is_a_storage_fault(object_store: ObjectStore) -> None:
    with pytest.raises(StorageFaultError):
        _store().get(sha256_of(DATA))


@pytest.mark.parametrize("fault", Fault)
def test_photo_at_an_s3_uri_is_retried_when_the_store_fails(object_store: ObjectStore, fault: Fault) -> None:
    policy = _policy(object_store, fetch_seconds=SHORT)
    with object_store.failing(fault), pytest.raises(StorageFaultError):
        policy.fetch("s3://photos/in/a.jpg")

    assert _policy(object_store).fetch("s3://photos/in/a.jpg") == DATA


def test_object_at_an_uri_is_read_up_to_the_limit(object_store: ObjectStore) -> None:
    assert _policy(object_store, max_bytes=len(DATA)).fetch("s3://photos/in/a.jpg") == DATA
    assert _policy(object_store).fetch("s3://photos/in/empty.jpg") == b""
    with pytest.raises(AttachmentError) as raised:
        _policy(object_store, max_bytes=len(DATA) - 1).fetch("s3://photos/in/a.jpg")
    assert raised.value.code is ErrorCode.TOO_LARGE


def test_missing_object_is_not_found_when_its_root_is_there(object_store: ObjectStore) -> None:
    policy = _policy(object_store)

    with pytest.raises(AttachmentError) as raised:
        policy.fetch("s3://photos/in/missing.jpg")
    assert raised.value.code is ErrorCode.NOT_FOUND
    assert policy.missing_shares() == 0


def test_missing_object_is_a_storage_fault_when_its_bucket_is_missing(object_store: ObjectStore) -> None:
    policy = UriPolicy(["s3://gone/in"], max_bytes=100)

    with pytest.raises(StorageFaultError):
        policy.fetch("s3://gone/in/a.jpg")
    assert policy.missing_shares() == 1


def test_slow_store_is_not_asked_again_for_each_photo(object_store: ObjectStore) -> None:
    policy = _policy(object_store, fetch_seconds=SHORT)
    with object_store.failing(Fault.SLOW):
        with pytest.raises(StorageFaultError):
            policy.fetch("s3://photos/in/a.jpg")
        asked = object_store.requests
        for _ in range(5):
            with pytest.raises(StorageFaultError):
                policy.fetch("s3://photos/in/b.jpg")

    assert object_store.requests == asked


def test_store_in_s3_takes_bytes_that_arrived_in_pieces(object_store: ObjectStore) -> None:
    store = _store()
    with store.receive(keep=100) as photo:
        photo.write(DATA[:5])
        photo.write(DATA[5:])
        sha256 = store.put(photo)
        store.remove(sha256)
        store.put(photo)

    assert store.get(sha256) == DATA


_WITHIN = "<NoncurrentVersionExpiration><NoncurrentDays>7</NoncurrentDays>{}</NoncurrentVersionExpiration>"
_TAGGED = "<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter>"
_NEWEST = "<NewerNoncurrentVersions>1</NewerNoncurrentVersions>"


@pytest.mark.parametrize(
    ("versioning", "rules", "days"),
    [
        (None, None, 0),
        ("Suspended", None, inf),
        ("Suspended", [f"<Status>Enabled</Status><Prefix/>{_WITHIN.format('')}"], 7),
        ("Enabled", None, inf),
        ("Enabled", [f"<Status>Enabled</Status><Prefix/>{_WITHIN.format('')}"], 7),
        ("Enabled", [f"<Status>Enabled</Status><Filter><Prefix>st</Prefix></Filter>{_WITHIN.format('')}"], 7),
        ("Enabled", [f"<Status>Enabled</Status><Filter><Prefix>other</Prefix></Filter>{_WITHIN.format('')}"], inf),
        ("Enabled", [f"<Status>Enabled</Status>{_TAGGED}{_WITHIN.format('')}"], inf),
        ("Enabled", [f"<Status>Enabled</Status><Prefix/>{_WITHIN.format(_NEWEST)}"], inf),
        ("Enabled", [f"<Status>Disabled</Status><Prefix/>{_WITHIN.format('')}"], inf),
        ("Enabled", ["<Status>Enabled</Status><Prefix/><Expiration><Days>1</Days></Expiration>"], inf),
    ],
)
def test_store_says_how_long_its_bucket_keeps_removed_bytes(
    object_store: ObjectStore,
    versioning: str | None,
    rules: list[str] | None,
    days: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    status = "" if versioning is None else f"<Status>{versioning}</Status>"
    configuration = {"versioning": f"<VersioningConfiguration>{status}</VersioningConfiguration>"}
    if rules is not None:
        rules = [f"<Rule><ID>r</ID>{rule}</Rule>" for rule in rules]
        configuration["lifecycle"] = f"<LifecycleConfiguration>{''.join(rules)}</LifecycleConfiguration>"
    monkeypatch.setattr(object_store, "configuration", configuration)

    assert BlobStore("s3://photos/store").days_kept_after_removal() == days


def test_store_cannot_say_how_long_its_bucket_keeps_removed_bytes_when_it_may_not_ask(
    object_store: ObjectStore,
) -> None:
    with object_store.failing(Fault.REFUSED):
        assert BlobStore("s3://photos/store").days_kept_after_removal() is None
    with object_store.failing(Fault.NO_BUCKET):
        assert BlobStore("s3://photos/store").days_kept_after_removal() == 0
    with object_store.failing(Fault.OVERLOADED), pytest.raises(BlobStoreUnavailableError):
        BlobStore("s3://photos/store", seconds=SHORT).days_kept_after_removal()


def test_store_keeps_no_removed_bytes_when_its_server_has_no_versions(object_store: ObjectStore) -> None:
    with object_store.failing(Fault.UNKNOWN):
        assert BlobStore("s3://photos/store").days_kept_after_removal() == 0
