"""Calls of fsspec's drivers with a time limit, whose failures are all OSError."""

from typing import Any

import fsspec

from triage.errors import NoStoreDriverError


def filesystem(url: str) -> tuple[Any, str]:
    """The driver of a URL, and the path in it. Listings are not cached, since other processes change the store.

    Raises:
        NoStoreDriverError: no driver for the URL's scheme is installed.
    """
    try:
        fs, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise NoStoreDriverError(
            "no driver of the store's URL is installed: for s3:// install the extra `s3` of this product, "
            "for other schemes their fsspec driver, such as gcsfs or adlfs, or use another URL"
        ) from error
    return fs, path.rstrip("/")


def call(fs: Any, method: str, *args: object, seconds: float, **options: object) -> Any:
    """Calls a method of a driver.

    Args:
        fs: a file system of fsspec.
        method: such as `cat_file`.
        seconds: time limit. Only drivers of object stores have one; a local file system blocks.

    Raises:
        FileNotFoundError: no such file or, in an object store, no such bucket.
        OSError: the call failed in any other way.
        NotImplementedError: the driver has no such method.
    """
    if fs.async_impl and hasattr(fs, f"_{method}"):
        options["timeout"] = seconds
    try:
        return getattr(fs, method)(*args, **options)
    except (OSError, NotImplementedError):
        raise
    except Exception as error:  # drivers raise their own types too
        raise OSError("the driver of the store failed") from error
