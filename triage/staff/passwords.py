"""Hashes of passwords: argon2id with the parameters of RFC 9106 for limited memory (64 MiB)."""

from threading import BoundedSemaphore
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_HASHER: Final = PasswordHasher()
_AT_ONCE: Final = BoundedSemaphore(2)
"""A check takes 64 MiB: many attempts at the same time wait for each other."""

_OF_NOBODY: Final = _HASHER.hash("the hash that an unknown name is checked against")


def hash_password(password: str) -> str:
    """Returns a hash with its salt and parameters."""
    with _AT_ONCE:
        return _HASHER.hash(password)


def is_password(password: str, stored: str | None) -> bool:
    """Whether a password belongs to a hash. An account without one takes the same time, so that no answer shows it."""
    with _AT_ONCE:
        try:
            return _HASHER.verify(stored or _OF_NOBODY, password) and stored is not None
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return False
