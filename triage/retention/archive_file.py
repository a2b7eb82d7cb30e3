"""The files of an archive: gzipped JSON lines."""

import gzip
import hashlib
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from triage.errors import UsageError
from triage.files.atomic import write_durably


def write_lines(folder: Path, file_id: UUID, lines: Sequence[str]) -> tuple[Path, str]:
    """Writes a file of an archive.

    Returns:
        Its path, and the SHA-256 of its bytes.

    Raises:
        UsageError: the folder cannot be written to.
    """
    file = folder / f"{file_id}.jsonl.gz"
    data = gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)
    try:
        write_durably(file, data, mode=0o600)
    except OSError as error:
        raise UsageError(
            f"the archive cannot be written ({error.strerror}): check its folder's space and rights"
        ) from error
    return file, hashlib.sha256(data).hexdigest()
