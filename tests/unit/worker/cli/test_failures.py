from collections.abc import Callable

import pytest

from triage.errors import UsageError
from worker import cli


def _close_while_interrupted() -> None:
    try:
        raise KeyboardInterrupt
    finally:
        raise UsageError("can't change 'autocommit' now")


def _translate() -> None:
    try:
        _close_while_interrupted()
    except UsageError as error:
        raise ValueError from error


@pytest.mark.parametrize("interrupted", [_close_while_interrupted, _translate])
def test_command_says_that_it_was_interrupted_when_the_clean_up_fails(
    interrupted: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.cli, "main", lambda **_: interrupted())
    monkeypatch.setattr("sys.argv", ["triage"])

    with pytest.raises(SystemExit) as exited:
        cli.main()

    assert exited.value.code == 1
    assert capsys.readouterr().err == "triage: interrupted\n"
