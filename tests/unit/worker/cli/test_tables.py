import json
import re

import pytest

from worker.cli.output import json_text
from worker.cli.tables import Column, Screen, Styled, fitting, format_table, print_line

IDS = [f"0190a0b0-0000-7000-8000-{number:012d}" for number in range(500)]
COLUMNS = ("request", "message", "status", Column("flagged", 1), Column("source", 2), Column("model", 3))
TERMINAL = Screen(80)


def _rows(message: str = "m-1") -> list[tuple[str, ...]]:
    return [(id_, message, "withdrawn", "2026-11-28 22:50 CET", "portal", "strict") for id_ in IDS]


def test_table_is_as_wide_as_its_cells_when_there_is_no_terminal() -> None:
    rows = _rows("m" * 200)

    heading, *lines = format_table(COLUMNS, rows).splitlines()

    assert heading.split() == ["request", "message", "status", "flagged", "source", "model"]
    assert [line.split() for line in lines] == [[word for cell in row for word in cell.split()] for row in rows]


def test_optional_columns_are_left_out_and_named_when_the_terminal_is_narrow() -> None:
    heading, *lines, last = format_table(COLUMNS, _rows(), TERMINAL).splitlines()

    assert heading.split() == ["request", "message", "status", "flagged"]
    assert [line.split()[0] for line in lines] == IDS
    assert all(line.endswith("  2026-11-28 22:50 CET") for line in lines)
    assert last == "hidden at 80 columns: source, model (widen the terminal or pipe the output)"
    assert max(map(len, (heading, *lines, last))) <= 80


def test_no_column_is_left_out_when_the_table_fits() -> None:
    assert format_table(COLUMNS, _rows(), Screen(120)) == format_table(COLUMNS, _rows())


def test_each_row_becomes_a_block_with_every_cell_when_the_required_columns_do_not_fit() -> None:
    message = "m" * 200

    blocks = format_table(COLUMNS, _rows(message), TERMINAL).split("\n\n")

    assert len(blocks) == len(IDS)
    for block, id_ in zip(blocks, IDS, strict=True):
        assert [line.split(None, 1) for line in block.splitlines()] == [
            ["request", id_],
            ["message", message],
            ["status", "withdrawn"],
            ["flagged", "2026-11-28 22:50 CET"],
            ["source", "portal"],
            ["model", "strict"],
        ]


def test_words_of_a_block_wrap_and_keep_ids_whole() -> None:
    progress = f"waits: the training worker is busy with run {IDS[1]}"

    text = format_table(
        ("run", "kind", "status", Column("progress", wrap=True)), [(IDS[0], *["x" * 9] * 2, progress)], TERMINAL
    )

    assert max(map(len, text.splitlines())) <= 80
    assert text.splitlines()[-2:] == [f"progress  {progress[:-37]}", f"          {IDS[1]}"]


def test_line_of_progress_keeps_whole_words() -> None:
    assert fitting(f"busy with run {IDS[0]}, epoch 3", 51) == f"busy with run {IDS[0]},"
    assert fitting(f"busy with run {IDS[0]}", 49) == "busy with run"
    assert fitting(IDS[0], 10) == ""


def test_words_wrap_at_spaces_before_a_column_is_left_out() -> None:
    label = "a-model-label-of-35-characters-0123"
    progress = f"120 of 1200 photos, 3 failed, good to bad 7, model {label}, about 0:02:11 left"

    text = format_table(("run", Column("progress", 1, wrap=True)), [(IDS[0], progress), (IDS[1], "")], TERMINAL)

    heading, *lines = text.splitlines()
    assert heading.split() == ["run", "progress"]
    assert max(map(len, lines)) <= 80
    assert " ".join(line.replace(IDS[0], "").strip() for line in lines[:-1]) == progress
    assert lines[-1] == IDS[1]


def test_column_of_words_is_left_out_when_its_longest_word_does_not_fit() -> None:
    text = format_table(("run", Column("progress", 1, wrap=True)), [(IDS[0], "w" * 60)], TERMINAL)

    assert text.splitlines()[1:] == [
        IDS[0],
        "hidden at 80 columns: progress (widen the terminal or pipe the output)",
    ]


def test_columns_line_up_when_characters_are_wide_or_combining() -> None:
    lines = format_table(("name", "n"), [("日本", 1), ("e\u0301", 2), ("abcd", 3)]).splitlines()

    assert lines == ["name  n", "日本  1", "e\u0301     2", "abcd  3"]


def test_control_characters_are_escaped() -> None:
    text = format_table(("message", "n"), [("\x1b[2Ja\nb\udc80", 1)])

    assert text.splitlines()[1] == r"\x1b[2Ja\nb\udc80  1"


@pytest.mark.parametrize("colour", [True, False])
def test_colour_is_kept_only_on_a_screen_with_colour(colour: bool) -> None:
    text = format_table(("outcome", "n"), [(Styled("pass", "green"), 1)], Screen(80, colour))

    line = text.splitlines()[1]
    assert line == ("\x1b[32mpass\x1b[0m     1" if colour else "pass     1")


def test_empty_table_has_its_heading() -> None:
    assert format_table((Column("run", wrap=True), "kind"), [], TERMINAL) == "run  kind\n"


@pytest.mark.parametrize("screen", [Screen(), Screen(30, colour=True), Screen(200, colour=True)])
def test_cells_and_headings_are_escaped_and_only_our_own_colours_remain(screen: Screen) -> None:
    hostile = "m\x1b[2J\x9b31m\u202e\u2028\r\n"

    table = format_table(
        (hostile, Column(hostile, wrap=True)), [(Styled(hostile, "red"), f"{hostile} {hostile}")], screen
    )

    assert re.sub(r"\x1b\[[0-9;]*m", "", table).replace("\n", "").isprintable()
    assert r"\x1b[2J\x9b31m\u202e\u2028\r\n" in table


def test_line_is_one_line_when_its_text_has_line_breaks(capsys: pytest.CaptureFixture[str]) -> None:
    print_line("message m\u2028\nmessage n: accepted", "\udcff")

    assert capsys.readouterr().out == "message m\\u2028\\nmessage n: accepted  \\udcff\n"


@pytest.mark.parametrize("text", ["\x1b\x7f\x9b\u202e\u2028", "\U000e0001", "\udcff", 'a"b\\', "Å 患者", "\n"])
def test_json_is_printable_and_keeps_its_text(text: str) -> None:
    printed = json_text({text: [text]})

    assert printed.replace("\n", "").isprintable()
    assert json.loads(printed) == {text: [text]}
