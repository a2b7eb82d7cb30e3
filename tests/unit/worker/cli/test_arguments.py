from collections.abc import Callable

import pytest

from tests.support.command_line import Result


@pytest.mark.parametrize(
    "arguments",
    [
        ("score", ""),
        ("score", "--json", "--", ""),
        ("dataset", "import-redcap", "export.csv", "--photos=", "-o", "made.csv"),
        ("override", "m-1", "--decision", "pass", "--by", "", "--reason", "sharp"),
    ],
)
def test_empty_argument_is_refused(run_command: Callable[..., Result], arguments: tuple[str, ...]) -> None:
    result = run_command(*arguments)

    assert (result.code, result.out) == (2, "")
    assert result.complaint().startswith("triage: an argument is empty: check the variable that it comes from")


def test_argument_may_end_with_an_equals_sign(run_command: Callable[..., Result]) -> None:
    assert "is empty" not in run_command("score", "--model", "a=", "no.jpg").complaint()
