"""Devices, of which some, such as `/dev/zero`, can be read without end and fill the memory."""

import errno
import os
import stat
from pathlib import Path


def refuse_device(path: Path) -> Path:
    """Returns the path unchanged. A pipe is allowed: it ends, and shells make pipes of `<(command)`.

    Raises:
        OSError: the path is a device, or nothing is there.
    """
    mode = path.stat().st_mode
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return path
