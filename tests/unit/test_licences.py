"""The licences of what the images contain are known, allowed, and listed in THIRD-PARTY-NOTICES.md."""

import re
import sys

import pytest

from recipes.licences import (
    NOTICES,
    Part,
    UnknownLicenceError,
    check,
    installed_parts,
    library_of,
    notices,
    production_packages,
    rules,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="wheels of other systems bring other libraries")


def test_every_package_and_library_of_the_images_has_an_allowed_licence() -> None:
    known = rules()

    parts = list(installed_parts(known))

    assert {"pillow", "libx265", "torch"} <= {part.name for part in parts}
    for part in parts:
        check(part, known)


def test_notices_list_what_is_installed_and_nothing_that_no_image_contains() -> None:
    written = NOTICES.read_text(encoding="utf-8").splitlines()
    listed = [re.findall(r"[^|\s][^|]*?(?= \|)", line)[:-1] for line in written if re.match(r"\| [a-zA-Z]", line)][1:]

    assert set(notices(list(installed_parts(rules()))).splitlines()) <= set(written), "run `make notices`"
    assert {names[-1] for names in listed} <= set(production_packages()), "run `make notices`"


@pytest.mark.parametrize(
    ("name", "licence"),
    [("libx264", "GPL-2.0-or-later"), ("libx265", "GPL-3.0-only"), ("new", "SSPL-1.0"), ("new", "MIT AND SSPL-1.0")],
)
def test_licence_is_refused_when_it_is_neither_allowed_nor_an_exception(name: str, licence: str) -> None:
    with pytest.raises(UnknownLicenceError, match=f"{name}: {licence} is not allowed"):
        check(Part(name, "", licence), rules())


def test_licence_is_accepted_when_one_choice_is_allowed() -> None:
    check(Part("new", "", "SSPL-1.0 OR (MIT AND BSD-3-Clause)"), rules())


def test_library_is_refused_when_nobody_has_read_its_licence() -> None:
    with pytest.raises(UnknownLicenceError, match=r"libx264-1\.so, in the wheel of new: find its licence"):
        library_of("libx264-1.so", rules(), "new")


def test_longest_name_applies_when_several_fit() -> None:
    assert library_of("libcrypto-5409cd36.so.1.1.1k", rules(), "python-gdcm")[2] == "OpenSSL"
    assert library_of("libcrypto-3a0647ea.so.3", rules(), "psycopg-binary")[2] == "Apache-2.0"
