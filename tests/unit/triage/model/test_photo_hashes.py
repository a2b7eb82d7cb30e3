import hashlib
import json

import pytest
from safetensors.torch import load

from tests.support.narrow_model import draw_narrow_network
from triage.model.photo_hashes import PhotoHashes, hash_photo, read_photo_hashes
from triage.model.weights import weights_of

PHOTOS = [b"one", b"two", b"three"]


def _hashes(salt: str = "salt-1") -> PhotoHashes:
    return PhotoHashes.of(salt, [hash_photo(salt, photo) for photo in PHOTOS])


def test_photos_are_recognised_by_their_bytes_when_the_weights_are_read() -> None:
    weights = weights_of(draw_narrow_network(), made_as="a run", photos=_hashes())

    found = read_photo_hashes(weights)

    assert found == _hashes()
    assert all(photo in found for photo in PHOTOS)
    assert b"two " not in found
    assert set(load(weights)) == set(draw_narrow_network().state_dict())


def test_weights_file_is_the_same_whatever_the_order_of_the_photos() -> None:
    network = draw_narrow_network()
    other = PhotoHashes.of("salt-1", [hash_photo("salt-1", photo) for photo in reversed(PHOTOS)])

    files = {weights_of(network, made_as="a run", photos=photos) for photos in (_hashes(), other)}

    assert len(files) == 1


def test_hashes_tell_nothing_without_the_photos_and_differ_between_models() -> None:
    assert not _hashes("salt-1").hashes & _hashes("salt-2").hashes
    plain = {hashlib.sha256(photo).hexdigest()[:16] for photo in PHOTOS}
    assert not _hashes().hashes & plain


@pytest.mark.parametrize(
    "weights",
    [
        b"",
        b"\x00" * 7,
        b"\xff" * 64,
        weights_of(draw_narrow_network(), made_as="a run"),
        weights_of(draw_narrow_network()),
        (2).to_bytes(8, "little") + b"[]",
        *(
            len(header).to_bytes(8, "little") + header
            for stated in ("no JSON", "[]", "{}", json.dumps({"photo_salt": "a", "photo_hashes": None}))
            for header in [json.dumps({"__metadata__": {"triage": stated}}).encode()]
        ),
    ],
)
def test_nothing_is_known_when_the_header_does_not_say_it(weights: bytes) -> None:
    assert read_photo_hashes(weights) is None


def test_header_stays_small_when_there_are_ten_thousand_photos() -> None:
    many = PhotoHashes.of("salt", (hash_photo("salt", str(number).encode()) for number in range(10_000)))
    without, with_hashes = (weights_of(draw_narrow_network(), photos=photos) for photos in (None, many))

    assert len(with_hashes) - len(without) < 250_000
    found = read_photo_hashes(with_hashes)
    assert found is not None
    assert len(found.hashes) == 10_000
