import csv
import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.domain.incoming import check_sender_id
from triage.domain.text import (
    MAX_ID,
    MAX_NOTE,
    check_id,
    check_note,
    check_word,
    csv_cell,
    from_csv_cell,
    printable,
)
from triage.errors import UsageError

REFUSED = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=2 * MAX_ID)
HOSTILE = [
    "\x1b[2J",
    "\x00",
    "\n",
    "\x85",
    "\x9b31m",
    "\u202e",
    "\u2028",
    "\u2029",
    "\u200b",
    "\ufeff",
    "\ud800",
    "\ue000",
]


@pytest.mark.parametrize("value", ["m-1001", "a b", "Å", "患者 7", "émile/Ж#3", "=1+1", "x" * MAX_ID])
def test_id_of_readable_text_is_unchanged(value: str) -> None:
    assert check_id(value, "message id") == value


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("check", [lambda text: check_id(text, "message id"), lambda text: check_note(text, "reason")])
def test_text_is_refused_without_its_value_when_it_has_a_control_or_format_character(check, hostile: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="without control or format characters") as raised:
        check(f"erika{hostile}7")

    assert "erika" not in str(raised.value)


@pytest.mark.parametrize("value", ["", " ", "x" * (MAX_ID + 1), "e\u0301", None, 7, b"m", ["m"]])
def test_id_is_refused_when_it_is_blank_too_long_decomposed_or_no_text(value: str) -> None:
    with pytest.raises(UsageError, match="invalid thread id: use 1 to 200 characters in Unicode's form NFC"):
        check_id(value, "thread id")


@pytest.mark.parametrize("value", [".", ".."])
def test_id_is_refused_when_it_is_a_step_in_a_path(value: str) -> None:
    with pytest.raises(UsageError, match=r"invalid source: `.` and `..` cannot be part of a URL"):
        check_word(value, "source")
    with pytest.raises(UsageError, match=r"invalid message id: `.` and `..` cannot be part of a URL"):
        check_sender_id(value, "message id")
    assert check_sender_id("...", "message id") == "..."


def test_reason_is_stored_composed_and_without_surrounding_spaces() -> None:
    assert check_note("  scharf genug fu\u0308r Dr. 7 ", "reason") == "scharf genug für Dr. 7"


@pytest.mark.parametrize("value", ["", "  ", "x" * (MAX_NOTE + 1), "x" * 1_000_000, None])
def test_reason_is_refused_when_it_is_blank_or_too_long(value: str) -> None:
    with pytest.raises(UsageError, match="invalid reason: use 1 to 2000 characters"):
        check_note(value, "reason")


@pytest.mark.parametrize("value", ["", "e h r", "ehr\n", "x" * 65, "ehrü", None, 7])
def test_word_is_refused_when_it_is_no_code(value: str) -> None:
    with pytest.raises(UsageError, match="invalid source: use 1 to 64 letters"):
        check_word(value, "source")


@given(ANY_TEXT)
def test_accepted_id_is_always_readable_storable_and_composed(value: str) -> None:
    try:
        accepted = check_id(value, "message id")
    except UsageError:
        return
    assert accepted == value == unicodedata.normalize("NFC", value)
    assert 1 <= len(value) <= MAX_ID
    assert not {unicodedata.category(character) for character in value} & REFUSED
    assert value.encode()


@given(ANY_TEXT)
def test_accepted_reason_is_accepted_again_unchanged(value: str) -> None:
    try:
        accepted = check_note(value, "reason")
    except UsageError:
        return
    assert check_note(accepted, "reason") == accepted


@given(ANY_TEXT)
def test_printable_text_is_printable_and_keeps_what_was_printable(text: str) -> None:
    shown = printable(text)

    assert shown.isprintable()
    assert shown == text or not text.isprintable()


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\x1b", "\x9b", "'=1", "-", "--1"]
)
def test_cell_that_a_spreadsheet_could_run_gets_an_apostrophe(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize(
    "value", ["-1.5", "+3", "-2e-07", -1, -0.25, None, True, "ehr", "a=b", "'quoted'", "", "2026-01-01"]
)
def test_cell_that_a_spreadsheet_shows_as_it_is_stays(value: object) -> None:
    assert csv_cell(value) == value


@given(st.text(st.characters(codec="utf-8")))
def test_cell_is_read_back_as_it_was_written(text: str) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerow([csv_cell(text), "end"])

    [[cell, _]] = csv.reader(io.StringIO(file.getvalue(), newline=""))

    assert from_csv_cell(cell) == text
