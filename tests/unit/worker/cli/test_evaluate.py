"""`triage evaluate` needs neither a database nor torch: it reads a file and prints."""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.command_line import Result


@pytest.fixture
def evaluate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_command: Callable[..., Result]
) -> Callable[..., Result]:
    monkeypatch.setenv("TRIAGE_HOME", str(tmp_path / "home"))
    return partial(run_command, "evaluate")


@pytest.fixture
def paper(tmp_path: Path) -> Path:
    """The test set of the paper, from its counts."""
    rows = [("0.7", 2, "a")] * 107 + [("0.4", 2, "b")] * 22 + [("0.3", 1, "a")] * 40 + [("0.6", 1, "b")] * 11
    path = tmp_path / "predictions.csv"
    path.write_text("score,votes,site\n" + "".join(f"{s},{v},{g}\n" for s, v, g in rows), encoding="utf-8")
    return path


def test_json_holds_the_papers_rates_when_its_counts_are_given(evaluate: Callable[..., Result], paper: Path) -> None:
    result = evaluate(paper, "--threshold", "0.587", "--by", "site", "--json")

    assert (result.code, result.err) == (0, "")
    assert [result.json[name] for name in ("tp", "fn", "tn", "fp")] == [107, 22, 40, 11]
    assert round(result.json["sensitivity"], 3) == 0.829
    assert {value: group["n"] for value, group in result.json["groups"]["site"].items()} == {"a": 147, "b": 33}


def test_table_shows_rates_with_intervals_when_people_read_it(evaluate: Callable[..., Result], paper: Path) -> None:
    result = evaluate(paper, "--threshold", "0.587")

    assert (result.code, result.err) == (0, "")
    assert "180 photos, 129 good, 51 bad" in result.out
    assert "82.9 %" in result.out
    assert "35.5 %" in result.out  # 22 of 62 requests are needless


def test_page_is_written_when_asked_for(evaluate: Callable[..., Result], paper: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"

    shown, printed = (evaluate(paper, "--html", page, *form) for form in ((), ("--json",)))

    assert shown.out.endswith(f"{page}: the evaluation\n")
    assert printed.err == f"{page}: the evaluation\n"
    assert printed.json["n"] == 180
    written = page.read_text(encoding="utf-8")
    assert written.lstrip().startswith("<!doctype html>")
    assert "In the paper's data it is 73 %" in written


def test_other_model_is_compared_when_it_saw_the_same_photos(
    evaluate: Callable[..., Result], paper: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.csv"
    other.write_text(paper.read_text(encoding="utf-8").replace("0.4,2", "0.65,2"), encoding="utf-8")

    comparison = evaluate(paper, "--compare", other, "--json").json["comparison"]

    assert comparison["difference"] == pytest.approx(comparison["auc"] - comparison["other_auc"])
    assert comparison["difference"] < 0
    assert evaluate(paper, "--compare", other).code == 0


def test_other_model_is_refused_when_its_votes_differ(
    evaluate: Callable[..., Result], paper: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.csv"
    other.write_text("score,votes\n0.5,2\n", encoding="utf-8")

    result = evaluate(paper, "--compare", other)

    assert result.code == 2
    assert "votes differ" in result.complaint()


def test_every_form_gives_the_reason_when_intervals_are_withheld(
    evaluate: Callable[..., Result], tmp_path: Path
) -> None:
    for name, bad, good in (("perfect", 1, 9), ("reversed", 9, 1)):
        rows = [f"0.{bad}{n},0,{n // 9}\n0.{good}{n},4,{n // 9}\n" for n in range(10)]
        (tmp_path / f"{name}.csv").write_text("score,votes,site\n" + "".join(rows), encoding="utf-8")
    arguments = (tmp_path / "perfect.csv", "--compare", tmp_path / "reversed.csv", "--html", tmp_path / "page.html")

    table = evaluate(*arguments, "--by", "site")
    document = evaluate(*arguments, "--json").json

    assert "AUC 1.000 (exact one-sided 0.741 to 1.000; other intervals withheld: no good and bad photos" in table.out
    assert "0.717 to 1.000, exact one-sided" in table.out  # of the nine pairs of site 0
    assert "difference +1.000 (paired test withheld: an AUC is exactly 0 or 1" in table.out
    assert document["comparison"]["p_value"] is None
    assert "exactly 0 or 1" in document["comparison"]["withheld"]
    assert "paired test is withheld" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("votes", [0, 4])
def test_one_class_is_no_error_when_shown_in_any_form(
    evaluate: Callable[..., Result], tmp_path: Path, votes: int
) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text(f"score,votes\n0.2,{votes}\n0.9,{votes}\n", encoding="utf-8")

    assert evaluate(path, "--json").json["auc"] is None
    assert evaluate(path, "--html", tmp_path / "page.html").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "PREDICTIONS"),
        (["missing.csv"], "missing.csv"),
        (["predictions.csv", "--by", "colour"], "colour"),
        (["predictions.csv", "--threshold", "2"], "threshold"),
        (["predictions.csv", "--threshold", "nan"], "threshold"),
        (["predictions.csv", "--target-ppv", "0"], "target-ppv"),
        (["predictions.csv", "--html", "no-such-folder/page.html"], "page.html"),
    ],
)
def test_usage_is_refused_in_one_line_when_wrong(
    evaluate: Callable[..., Result],
    paper: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(paper.parent)

    result = evaluate(*arguments)

    assert (result.code, result.out) == (2, "")
    assert said in result.complaint()


def test_torch_is_not_imported_when_predictions_come_from_a_file(paper: Path, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from worker.cli import main\n"
        f"sys.argv = ['triage', 'evaluate', {str(paper)!r}, '--html', {str(tmp_path / 'page.html')!r}, '--json']\n"
        "try:\n    main()\nfinally:\n    print('torch' in sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout)["n"] == 180
    assert done.stderr.splitlines()[-1] == "False"
