"""Salted hashes of the photos that a model learned from, in the header of its weights: an evaluation must not use them.

The header travels with the weights wherever they go, and their SHA-256 on the card covers it. A hash is of the bytes
of a file, so it finds the same file under any name, but not the same photo saved once more. Because of the salt, the
hashes of two models cannot be joined with each other or with other lists of hashes.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

_KEY: Final = "triage"
_DIGITS: Final = 16
"""64 bits: among 10,000 training photos, a million others match one by chance with a probability of 5 in 10 billion."""


@dataclass(frozen=True, slots=True)
class PhotoHashes:
    """The hashes of a model's training and validation photos.

    Attributes:
        salt: of this model.
        hashes: 16 hexadecimal digits each.
    """

    salt: str
    hashes: frozenset[str]

    @classmethod
    def of(cls, salt: str, hashes: Iterable[str]) -> Self:
        return cls(salt, frozenset(hashes))

    def __contains__(self, photo: bytes) -> bool:
        """Whether the model learned from a file with these bytes."""
        return hash_photo(self.salt, photo) in self.hashes


def hash_photo(salt: str, photo: bytes) -> str:
    """The salted hash of a photo's file: 16 hexadecimal digits."""
    return hashlib.sha256(salt.encode() + photo).hexdigest()[:_DIGITS]


def header_of(photos: PhotoHashes, *, made_as: str) -> dict[str, str]:
    """What the header of a safetensors file states about its making.

    It has one key, because the order of several keys varies, and with it the SHA-256 of the file.
    """
    stated = {"made_as": made_as, "photo_salt": photos.salt, "photo_hashes": sorted(photos.hashes)}
    return {_KEY: json.dumps(stated, sort_keys=True)}


def read_photo_hashes(weights: bytes) -> PhotoHashes | None:
    """The hashes in the header of a safetensors file; None if it has none, as that of a model from elsewhere."""
    try:
        length = int.from_bytes(weights[:8], "little")
        stated = json.loads(json.loads(weights[8 : 8 + length])["__metadata__"][_KEY])
        return PhotoHashes.of(str(stated["photo_salt"]), map(str, stated["photo_hashes"]))
    except (ValueError, KeyError, TypeError):
        return None
