"""Buckets that keep versions: what is deleted there stays readable as an older version.

Suspending versioning deletes no version: photos that were stored before stay readable after their deletion.
"""

import errno
import math
from typing import Any, Final

from triage.blobs.filesystem import call

_APPLIES: Final = "Enabled"
"""The status of a rule."""


def days_kept(fs: Any, path: str, *, seconds: float) -> float:
    """How many days a store keeps the bytes of a deleted file: 0 without versions, infinity without an end.

    Args:
        fs: a file system of fsspec. Only S3 and compatible stores can tell; 0 is returned for all others.
        path: of the store, which begins with its bucket.
        seconds: time limit for each call.

    Raises:
        PermissionError: the account may not ask.
        OSError: the store does not respond.
    """
    if not hasattr(fs, "call_s3"):
        return 0
    bucket = path.partition("/")[0]
    try:
        state = call(fs, "call_s3", "get_bucket_versioning", seconds=seconds, Bucket=bucket)
    except OSError as error:
        if error.errno == errno.ENOSYS:  # a compatible store that has no versions
            return 0
        raise
    if "Status" not in state:  # the bucket never had versions
        return 0
    try:
        rules = call(fs, "call_s3", "get_bucket_lifecycle_configuration", seconds=seconds, Bucket=bucket)["Rules"]
    except FileNotFoundError:  # the bucket has no rules
        return math.inf
    return min((_days(rule, path) for rule in rules), default=math.inf)


def _days(rule: dict[str, Any], path: str) -> float:
    """After how many days a rule of a bucket deletes all old versions of a store; infinity if it does not."""
    condition = rule.get("Filter", {})
    prefix = condition.get("Prefix", rule.get("Prefix", ""))
    covers = not condition.keys() - {"Prefix"} and f"{path.partition('/')[2]}/".startswith(prefix)
    expiration = rule.get("NoncurrentVersionExpiration", {})
    if rule["Status"] != _APPLIES or not covers or expiration.get("NewerNoncurrentVersions"):
        return math.inf
    return float(expiration.get("NoncurrentDays", math.inf))
