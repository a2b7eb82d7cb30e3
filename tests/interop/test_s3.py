"""Photos in a real S3 server, from moto's wheel in an environment of its own: rights, versions, and its sudden end."""

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
import s3fs
from botocore.session import get_session

from tests.support.command_line import Result
from tests.support.deployment import eventually
from triage.blobs.store import BlobStore
from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.errors import BlobStoreUnavailableError, ServiceUnavailableError, StorageFaultError, WrongBlobStoreError
from triage.files.hashing import sha256_of
from worker.doctor.problems import run_check
from worker.doctor.storage import check_blob_store
from worker.settings import Settings
from worker.tasks.base import WorkerServices

MOTO = Path(__file__).parents[2] / ".venv" / "interop" / "bin" / "moto_server"
BUCKET = "photos"
PHOTO = b"the bytes of a photo"
NO_LIMIT = "1000000000"
"""Of actions before the server examines signatures and rights."""


class Server:
    """An S3 server that keeps its objects in memory: killed and started again, it is empty."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / "moto.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [MOTO, "--host", "127.0.0.1", "--port", str(self.port)],
                stdout=log,
                stderr=log,
                env=os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": NO_LIMIT},
            )
        eventually(self._answers)
        self.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def client(self, service: str) -> Any:
        """A client of the owner, who may do everything."""
        return get_session().create_client(
            service,
            endpoint_url=self.url,
            region_name="eu-central-1",
            aws_access_key_id="owner",
            aws_secret_access_key="owner",
        )

    def examine_rights(self, *, of: int) -> None:
        """From now on examines signatures and rights, after a number of further actions."""
        request = Request(
            f"{self.url}/moto-api/reset-auth", data=str(of).encode(), headers={"Content-Type": "text/plain"}
        )
        urlopen(request, timeout=10).close()

    def names(self) -> list[str]:
        listed = self.client("s3").list_objects_v2(Bucket=BUCKET)
        return [each["Key"] for each in listed.get("Contents", [])]

    def _answers(self) -> bool:
        try:
            return bool(urlopen(f"{self.url}/moto-api/", timeout=10).status == 200)
        except (URLError, OSError):
            return False


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server with a bucket, which the environment names as an operator does."""
    if not MOTO.exists():
        pytest.skip("moto is missing: run make test-interop")
    server = Server(tmp_path)
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "owner",
        "AWS_SECRET_ACCESS_KEY": "owner",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    server.start()
    yield server
    s3fs.S3FileSystem.clear_instance_cache()
    server.kill()


@pytest.fixture
def settings(settings: Settings, server: Server) -> Settings:
    return settings.model_copy(update={"blobs": settings.blobs.model_copy(update={"url": f"s3://{BUCKET}/store"})})


def _send(services: WorkerServices, message: str, *photos: bytes) -> None:
    attachments = [IncomingAttachment(data=photo) for photo in photos]
    services.intake.enqueue([IncomingMessage("ehr", message, attachments)])


def _user(server: Server, policy: list[dict[str, Any]]) -> dict[str, str]:
    """Creates an account with these rights. Returns the variables of its key."""
    iam = server.client("iam")
    iam.create_user(UserName="triage")
    document = json.dumps({"Version": "2012-10-17", "Statement": policy})
    iam.put_user_policy(UserName="triage", PolicyName="store", PolicyDocument=document)
    key = iam.create_access_key(UserName="triage")["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


def _allow(*actions: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": "*"}


def test_message_is_scored_and_forgotten_when_its_photo_is_in_s3(
    server: Server,
    services: WorkerServices,
    deploy: Callable[..., Any],
    triage: Callable[..., Result],
    jpeg: Callable[..., bytes],
) -> None:
    photo = jpeg(1)
    key = f"store/{sha256_of(photo)[:2]}/{sha256_of(photo)}"
    with deploy("scoring", "intake") as site:
        _send(services, "m-1", photo)
        assert key in server.names()
        assert eventually(lambda: site.outcome("m-1")) == "retake"

        assert triage("forget", "m-1", "--by", "op-1", "--reason", "request-1").code == 0

    assert server.names() == ["store/triage-store-id"]


def test_object_without_a_row_is_kept_for_a_day_and_can_be_removed_twice(
    server: Server, services: WorkerServices
) -> None:
    _send(services, "m-1", PHOTO)
    stray = services.blobs.put(b"of an interrupted submission")
    assert services.blobs.names(stray[:2]) == [stray]
    assert services.retention.purge(actor="op-1").strays == 0  # younger than a day

    services.blobs.remove(stray)
    services.blobs.remove(stray)

    assert services.blobs.names(stray[:2]) == []
    assert len(server.names()) == 2


def test_message_is_refused_when_the_bucket_is_missing(services: WorkerServices, server: Server) -> None:
    s3 = server.client("s3")
    s3.delete_bucket(Bucket=BUCKET)

    with pytest.raises(BlobStoreUnavailableError, match="create the folder or bucket"):
        _send(services, "m-1", PHOTO)
    assert "bucket of its URL" in run_check("", lambda: check_blob_store(services.photo_store, services.blobs)).remedy


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_store_is_unavailable_when_the_credentials_are_wrong(
    server: Server, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"s3://{BUCKET}/store"
    sha256 = BlobStore(url).put(PHOTO)
    for name, value in {**_user(server, [_allow("s3:*")]), variable: "wrong"}.items():
        monkeypatch.setenv(name, value)
    server.examine_rights(of=0)
    s3fs.S3FileSystem.clear_instance_cache()
    store = BlobStore(url)

    with pytest.raises(StorageFaultError):
        store.get(sha256)
    with pytest.raises(BlobStoreUnavailableError, match="permissions"):
        store.put(b"another photo")
    with pytest.raises(BlobStoreUnavailableError, match="permissions"):
        store.marker()


def test_store_works_with_the_documented_rights_alone(
    server: Server, services: WorkerServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    rights = [_allow("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket")]
    for name, value in _user(server, rights).items():
        monkeypatch.setenv(name, value)
    server.examine_rights(of=0)
    s3fs.S3FileSystem.clear_instance_cache()

    _send(services, "m-1", PHOTO)
    check = run_check("", lambda: check_blob_store(services.photo_store, services.blobs))

    assert services.blobs.get(sha256_of(PHOTO)) == PHOTO
    assert check.ok
    assert check.detail.endswith("unknown without s3:GetBucketVersioning and s3:GetLifecycleConfiguration")


def test_doctor_reports_a_bucket_that_keeps_deleted_photos(server: Server, services: WorkerServices) -> None:
    def check() -> tuple[bool, str]:
        found = run_check("", lambda: check_blob_store(services.photo_store, services.blobs))
        return found.ok, found.detail

    def expire(**rule: Any) -> None:
        rule = {"ID": "old", "Status": "Enabled", "NoncurrentVersionExpiration": {"NoncurrentDays": 7}, **rule}
        s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [rule]})

    def stored() -> set[str]:
        return {each["ETag"] for each in s3.list_object_versions(Bucket=BUCKET, Prefix="store/")["Versions"]}

    s3 = server.client("s3")
    keeps = (False, "the bucket keeps versions, so that purged and forgotten photos stay readable")
    _send(services, "m-1", PHOTO)
    assert check() == (True, "writable")

    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    services.blobs.remove(services.blobs.put(b"a photo to be purged"))
    kept = stored()
    assert len(kept) == 3  # the marker, the photo, and the one that is deleted: the check is about something real
    assert check() == keeps

    expire(Filter={"Prefix": "other/"})
    assert check() == keeps
    expire(Filter={"Prefix": ""}, Status="Disabled")
    assert check() == keeps
    expire(Filter={"Prefix": "store/"})
    assert check() == (True, "writable; the bucket keeps deleted photos for 7 days")

    s3.delete_bucket_lifecycle(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})
    assert kept <= stored()  # of the time before
    assert check() == keeps


def test_message_is_refused_when_the_server_dies_and_accepted_when_it_is_restored(
    server: Server, services: WorkerServices
) -> None:
    _send(services, "m-1", PHOTO)
    server.kill()
    with pytest.raises(ServiceUnavailableError):
        _send(services, "m-2", b"another photo")
    with pytest.raises(StorageFaultError):
        services.blobs.get(sha256_of(PHOTO))

    server.start()  # without its objects
    with pytest.raises(WrongBlobStoreError, match="empty or not mounted"):
        _send(services, "m-2", b"another photo")

    services.blobs.put(PHOTO)  # a restored copy
    services.photo_store.adopt(by="op-1")
    _send(services, "m-2", b"another photo")
    assert services.blobs.get(sha256_of(b"another photo")) == b"another photo"
