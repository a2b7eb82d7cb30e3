"""The licences of what the images contain are known, allowed, listed in THIRD-PARTY-NOTICES.md, and have texts."""

import re
import sys
from importlib.metadata import distribution

import pytest

from recipes.licences import (
    NOTICES,
    ROOT,
    TEXTS,
    Part,
    UnknownLicenceError,
    check,
    choices,
    installed_parts,
    library_of,
    notices,
    production_packages,
    rules,
    static_libraries,
    text_of,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="wheels of other systems bring other libraries")


def test_every_package_and_library_of_the_images_has_an_allowed_licence_and_its_text() -> None:
    known = rules()

    parts = list(installed_parts(known))

    assert {"pillow", "libx265", "torch", "libjxl", "jpegxl-rs", "s3fs"} <= {part.name.split()[0] for part in parts}
    for part in parts:
        check(part, known)


def test_notices_list_what_is_installed_and_nothing_that_no_image_contains() -> None:
    known = rules()
    written = NOTICES.read_text(encoding="utf-8").splitlines()
    rows = [line.removeprefix("| ").split(" | ") for line in written if line.startswith("| ")][1:]

    assert set(notices(list(installed_parts(known))).splitlines()) <= set(written), "run `make notices`"
    assert {wheel.strip("| ") or name for name, wheel, *_ in rows} <= set(production_packages(known)), (
        "run `make notices`"
    )
    assert {file.name for file in TEXTS.iterdir()} <= set(re.findall(r"[\w.-]+\.txt", "\n".join(written)))


def test_packages_without_notices_are_deleted_from_the_image() -> None:
    prune = (ROOT / "deploy" / "image" / "prune").read_text(encoding="utf-8")

    assert [name for name in rules()["pruned"] if f"rm -rf {name} {name}-*.dist-info" not in prune] == []


@pytest.mark.parametrize(
    ("name", "licence"),
    [("libx264", "GPL-2.0-or-later"), ("libx265", "GPL-3.0-only"), ("new", "SSPL-1.0"), ("new", "MIT AND SSPL-1.0")],
)
def test_licence_is_refused_when_it_is_neither_allowed_nor_an_exception(name: str, licence: str) -> None:
    with pytest.raises(UnknownLicenceError, match=f"{name}: {licence} is not allowed"):
        check(Part(name, "", licence), rules())


def test_licence_is_accepted_when_one_choice_is_allowed() -> None:
    check(Part("new", "", "SSPL-1.0 OR (MIT AND BSD-3-Clause)", "MIT.txt"), rules())


def test_licence_is_refused_when_only_its_second_half_is_a_choice() -> None:
    assert choices("(MIT OR Apache-2.0) AND Zlib") == [{"MIT", "Zlib"}, {"Apache-2.0", "Zlib"}]
    with pytest.raises(UnknownLicenceError, match="is not allowed"):
        check(Part("new", "", "(MIT OR Apache-2.0) AND SSPL-1.0", "MIT.txt"), rules())


@pytest.mark.parametrize("text", ["Apache-1.0.txt", "wheel", "wheel of mnn", "https://example.org", "/etc/passwd"])
def test_part_is_refused_when_the_text_of_its_licence_is_missing(text: str) -> None:
    with pytest.raises(UnknownLicenceError, match=f"mnn: no text of its licence: {text}"):
        check(Part("mnn", "", "Apache-2.0", text), rules())


def test_library_is_refused_when_nothing_says_where_its_text_is() -> None:
    assert text_of("libnew", rules(), "pillow") == "wheel"
    with pytest.raises(UnknownLicenceError, match="libnew, in the wheel of mnn: find the text of its licence"):
        text_of("libnew", rules(), "mnn")


def test_linked_libraries_are_to_be_read_again_when_the_version_of_the_wheel_is_new() -> None:
    known = rules()
    known["static"]["simplejpeg"]["version"] = "1.0"

    with pytest.raises(UnknownLicenceError, match=r"simplejpeg: its linked libraries were read in 1\.0"):
        static_libraries(distribution("simplejpeg"), known)


def test_library_is_refused_when_nobody_has_read_its_licence() -> None:
    with pytest.raises(UnknownLicenceError, match=r"libx264-1\.so, in the wheel of new: find its licence"):
        library_of("libx264-1.so", rules(), "new")


def test_longest_name_applies_when_several_fit() -> None:
    assert library_of("libcrypto-5409cd36.so.1.1.1k", rules(), "python-gdcm")[1] == "OpenSSL"
    assert library_of("libcrypto-3a0647ea.so.3", rules(), "psycopg-binary")[1] == "Apache-2.0"
