"""Checks of photos, files and volumes."""

from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Final

from triage.blobs.store import BlobStore
from triage.blobs.uris import UriPolicy
from triage.files.reach import count_out_of_reach
from triage.files.volumes import Volume, volume_of
from triage.photo_store import PhotoStore
from triage.storage.database import Sessions
from triage.storage.health import count_unread
from worker.doctor.problems import ProblemError
from worker.services import Services

_VARIABLES: Final = {
    "photos": "TRIAGE_BLOBS__URL",
    "models": "TRIAGE_MODELS__URL",
    "runs": "TRIAGE_TRAINING__FOLDER",
    "engines": "TRIAGE_SCORER__CACHE_FOLDER",
}
"""The setting of each folder that workers write to."""


def check_blob_store(store: PhotoStore, blobs: BlobStore) -> str:
    is_set_up = store.check()
    if not is_set_up and blobs.folder and not blobs.folder.exists():
        return "the first photo sets it up"
    blobs.check()
    state = "writable" if is_set_up else "writable, and the first photo sets it up"
    days = blobs.days_kept_after_removal()
    if days == inf:
        raise ProblemError(
            "the bucket keeps versions, so that purged and forgotten photos stay readable",
            "let a lifecycle rule delete all noncurrent versions after a few days: suspending versioning deletes none",
        )
    if days is None:
        rights = "s3:GetBucketVersioning and s3:GetLifecycleConfiguration"
        return f"{state}; whether the bucket keeps deleted photos is unknown without {rights}"
    return f"{state}; the bucket keeps deleted photos for {days:.0f} days" if days else state


def check_uri_roots(uris: UriPolicy) -> str:
    if missing := uris.missing_shares():
        raise ProblemError(
            f"{missing} of {uris.n_roots} roots for photos cannot be read",
            "mount the share, or remove its root from TRIAGE_INTAKE__URI_ROOTS",
        )
    return f"{uris.n_roots} configured"


def check_unread_photos(sessions: Sessions) -> str:
    with sessions() as session:
        unread = count_unread(session)
    if unread:
        raise ProblemError(
            f"{unread:,} photo{'' if unread == 1 else 's'} cannot be read from their storage, and wait",
            "mount the share or the store, or restore the lost files: the photos are retried",
        )
    return "none"


def check_files(services: Services) -> str:
    """Examines what is below the folders, which may have been made by commands of another user."""
    folders = services.folders
    counts = {name: count_out_of_reach(folders[key]) for key, name in _VARIABLES.items() if key in folders}
    if any(counts.values()):
        places = ", ".join(f"{number:,} below {name}" for name, number in counts.items() if number)
        raise ProblemError(
            f"the workers' user cannot read or delete files or folders: {places}",
            "chown them to that user, or set TRIAGE_FILES__GROUP, chgrp -R them to that group and chmod -R g+rwX",
        )
    return "readable and deletable"


def check_volumes(folders: Mapping[str, Path]) -> str:
    """Examines each volume once, with the names of the folders that it holds."""
    volumes: dict[int, tuple[Volume, list[str]]] = {}
    for name, folder in folders.items():
        if volume := volume_of(folder):
            volumes.setdefault(volume.device, (volume, []))[1].append(name)
    states = [(volume.is_low, f"{', '.join(names)}: {_free(volume)}") for volume, names in volumes.values()]
    if low := [state for is_low, state in states if is_low]:
        raise ProblemError("; ".join(low), "free some space, enlarge the volume, or purge older photos")
    return "; ".join(state for _, state in states)


def _free(volume: Volume) -> str:
    return f"{volume.free_bytes / 2**30:.1f} GiB ({volume.free_share:.0%}) free"
