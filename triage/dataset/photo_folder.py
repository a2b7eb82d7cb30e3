"""The photos that an export may name: the files of one folder, and no file outside it."""

import unicodedata
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Final

from triage.errors import UsageError
from triage.files.kinds import is_file

_PLACEHOLDER: Final = "[document]"


class PhotoFolder:
    """A folder of photos. Neither `..`, nor an absolute path, nor a symbolic link leads out of it.

    Raises:
        UsageError: there is no such folder, or it cannot be listed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        try:
            self._root = path.resolve()
            files = _files(path)
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links
            raise UsageError(f"{path}: no such folder of photos") from error
        for file in files:
            self._by_stem[unicodedata.normalize("NFC", file.stem)].append(file)

    def find(self, name: str) -> Path:
        """The file of a name, which may have folders, with `/` between them.

        Raises:
            ValueError: the name leads out of the folder, or there is no such file.
        """
        if name == _PLACEHOLDER:
            raise ValueError(f"{_PLACEHOLDER} stands for an uploaded file: the export needs the file's name")
        if "\\" in name or name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise ValueError("the photo must be a path below the folder of photos, with / between folders, without ..")
        spellings = (name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD")))  # macOS writes NFD
        for path in (self._path / spelling for spelling in spellings):
            if is_file(path):
                return self._inside(path)
        raise ValueError("the folder of photos has no file of this name")

    def find_record(self, record: str) -> Path:
        """The one file that is named after a record, with any suffix.

        Raises:
            ValueError: there is no such file, there are several, or it is a link out of the folder.
        """
        files = self._by_stem.get(unicodedata.normalize("NFC", record), [])
        if len(files) != 1:
            raise ValueError(f"the folder of photos has {len(files)} files with the name of this record, not one")
        return self._inside(files[0])

    def count_others(self, named: Collection[Path]) -> int:
        """How many files lie in the folder, and in the folders of the named photos, beside the named photos."""
        folders = {self._path, *(path.parent for path in named)}
        files = {file.resolve() for folder in folders for file in _files(folder)}
        return len(files - {path.resolve() for path in named})

    def _inside(self, path: Path) -> Path:
        if not path.resolve().is_relative_to(self._root):
            raise ValueError("the photo is a link out of the folder of photos")
        return path


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and is_file(path))
