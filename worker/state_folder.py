"""The state folder of the embedded services: subfolders, private to the user, and addresses."""

import hashlib
import os
import pwd
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from triage.errors import TriageError
from triage.files.modes import is_shared, make_folder

_SOCKET_PATH_LIMIT = 103  # bytes; macOS has room for 103 and a closing zero, Linux for 107
_LONGEST_SOCKET_NAME = ".s.PGSQL.5432"


class EmbeddedError(TriageError):
    """An embedded service failed to install, start, respond or stop."""


@dataclass(frozen=True)
class StateFolder:
    """The folders and addresses of the embedded services. Call `prepare()` to create the folders.

    Attributes:
        root: the folder that contains all others; becomes absolute, with symbolic links unresolved.
    """

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(os.path.normpath(self.root.absolute())))

    @property
    def postgres_data(self) -> Path:
        """The data folder of Postgres. It exists only if it is complete."""
        return self.root / "postgres"

    @property
    def postgres_binaries(self) -> Path:
        """Copies of the Postgres programs, one folder per version of the wheel. Only root uses them."""
        return self.root / "postgres-binaries"

    @property
    def socket_dir(self) -> Path:
        """The folder of both sockets: in the root folder, or in /tmp if that path is unsuitable.

        The length of a socket's path is limited, and Postgres clients split the path at commas.
        """
        folder = self.root / "run"
        path = os.fsencode(folder / _LONGEST_SOCKET_NAME)
        if len(path) <= _SOCKET_PATH_LIMIT and b"," not in path:
            return folder
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        # not $TMPDIR: processes with different environments must find the same server
        return Path("/tmp") / f"triage-{digest}-{os.geteuid()}"  # noqa: S108 - prepare() checks the owner

    @property
    def redis_socket(self) -> Path:
        """The Unix socket of Redis."""
        return self.socket_dir / "redis.sock"

    @property
    def redis_dir(self) -> Path:
        """The working folder of Redis."""
        return self.root / "redis"

    @property
    def logs(self) -> Path:
        """The folder of all logs."""
        return self.root / "logs"

    @property
    def blobs(self) -> Path:
        """The store of photos."""
        return self.root / "blobs"

    @property
    def models(self) -> Path:
        """The store of model weights."""
        return self.root / "models"

    @property
    def engines(self) -> Path:
        """The cache of models in the format of an engine. It can be deleted at any time."""
        return self.root / "engines"

    @property
    def runs(self) -> Path:
        """The folder of the checkpoints of training runs."""
        return self.root / "runs"

    def database_url(self, name: str = "triage", *, role: str = "postgres") -> str:
        """Returns the SQLAlchemy URL of a database. It includes the port, so that PGPORT has no effect.

        Args:
            name: of the database.
            role: by default the superuser.
        """
        host = quote(os.fspath(self.socket_dir))
        return f"postgresql+psycopg://{quote(role, safe='')}@/{quote(name, safe='')}?host={host}&port=5432"

    @property
    def redis_url(self) -> str:
        """The URL of Redis in the form of redis-py."""
        return f"unix://{quote(os.fspath(self.redis_socket))}"

    def prepare(self) -> None:
        """Creates the folders, with the permissions of `triage.files.modes`. Existing folders keep theirs.

        If root runs this, Postgres runs as another user, which may traverse the root folder and owns the folder of the
        sockets.

        Raises:
            EmbeddedError: a folder belongs to another user, is writable by others, or cannot be created.
        """
        user = unprivileged_user()
        try:
            self.root.parent.mkdir(parents=True, exist_ok=True)
            for folder in (self.root, self.blobs, self.models):
                make_folder(folder)
                _check_private(folder, owners={os.geteuid()})
            for folder in (self.redis_dir, self.logs):
                _make_private(folder, owners={os.geteuid()})
            _make_private(self.socket_dir, owners={user.pw_uid, os.geteuid()} if user else {os.geteuid()})
            if user:
                self.root.chmod(stat.S_IMODE(self.root.stat().st_mode) | 0o011)
                os.chown(self.socket_dir, user.pw_uid, user.pw_gid, follow_symlinks=False)
        except OSError as error:
            raise EmbeddedError(f"cannot create the state folder {self.root}: {error.strerror}") from error


def default_state_folder() -> Path:
    """The default state folder. For root it is outside the home folder, which the Postgres of root cannot access."""
    if os.geteuid() == 0:
        return Path("/var/lib/skin-photo-triage")
    return Path.home() / ".local" / "state" / "skin-photo-triage"


def unprivileged_user() -> pwd.struct_passwd | None:
    """Returns the user that runs Postgres if this process is root, otherwise None.

    Raises:
        EmbeddedError: this process is root and the system has no user `nobody`.
    """
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody")
    except KeyError as error:
        raise EmbeddedError(
            "Postgres does not run as root, and the system has no user nobody: run as another user"
        ) from error


def _make_private(folder: Path, *, owners: set[int]) -> None:
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    _check_private(folder, owners=owners)


def _check_private(folder: Path, *, owners: set[int]) -> None:
    link, target = folder.lstat(), folder.stat()
    if target.st_uid not in owners or (stat.S_ISLNK(link.st_mode) and link.st_uid != os.geteuid()):
        raise EmbeddedError(f"{folder} belongs to another user: choose another state folder")
    if target.st_mode & (0o002 if is_shared(target) else 0o022):
        raise EmbeddedError(f"others can write to {folder}: choose another state folder or run chmod go-w")
