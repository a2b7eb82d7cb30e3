from pathlib import Path

import pytest

from triage.errors import UsageError
from triage.evaluation.predictions import read_predictions


def _write(folder: Path, text: str) -> Path:
    path = folder / "predictions.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_become_arrays_when_the_file_is_well_formed(tmp_path: Path) -> None:
    found = read_predictions(_write(tmp_path, "votes,site,score,rating\n4,arm,0.5,61.5\n0,,1,3\n"))

    assert found.scores.tolist() == [0.5, 1.0]
    assert found.votes.tolist() == [4, 0]
    assert found.ratings is not None
    assert found.ratings.tolist() == [61.5, 3.0]
    assert {name: list(values) for name, values in found.columns.items()} == {"site": ["arm", ""]}
    assert found.good(2).tolist() == [True, False]


def test_probabilities_of_each_cut_are_read_with_what_the_votes_say(tmp_path: Path) -> None:
    table = (
        "score,votes,n_reviewers,cumulative_1,cumulative_2,cumulative_3\n"
        ".5,1,3,.9,.5,.1\n.8,1,2,.9,.8,.2\n.1,3,3,.4,.1,0\n"
    )

    found = read_predictions(_write(tmp_path, table))

    assert found.cumulative is not None
    assert found.cumulative.tolist() == [[0.9, 0.5, 0.1], [0.9, 0.8, 0.2], [0.4, 0.1, 0.0]]
    assert found.levels is not None
    assert str(found.levels.tolist()) == "[[1.0, 0.0, 0.0], [1.0, nan, 0.0], [1.0, 1.0, 1.0]]"
    with pytest.raises(UsageError, match="cumulative_2 must be a number from 0 to 1"):
        read_predictions(_write(tmp_path, table.replace(",.9,.5", ",.9,1.5")))


def test_byte_order_mark_is_stripped_from_the_first_column(tmp_path: Path) -> None:
    assert len(read_predictions(_write(tmp_path, "\ufeffscore,votes\n0.1,1\n"))) == 1


@pytest.mark.parametrize("text", ["score, votes , site\n.5, 1, arm\n", "score;votes;site\n.5;1;arm\n"])
def test_names_and_values_are_stripped_and_the_delimiter_found(tmp_path: Path, text: str) -> None:
    found = read_predictions(_write(tmp_path, text))

    assert (found.scores.tolist(), found.votes.tolist(), dict(found.columns)) == ([0.5], [1], {"site": ["arm"]})


@pytest.mark.parametrize("header", ["score,votes,score", "score,votes, score", "score,votes,site,site"])
def test_file_is_refused_when_two_columns_share_a_name(tmp_path: Path, header: str) -> None:
    with pytest.raises(UsageError, match="two columns have the same name"):
        read_predictions(_write(tmp_path, f"{header}\n.9,4,.1,.2\n"))


@pytest.mark.parametrize("score", ["0,5", "0_0.5", "1_0e-2", "\u0660.\u0665", "0x1", "infinity", "1e999"])
def test_number_is_refused_when_it_is_not_written_with_a_decimal_point(tmp_path: Path, score: str) -> None:
    with pytest.raises(UsageError, match="line 2: score must be a number with a decimal point"):
        read_predictions(_write(tmp_path, f"score;votes\n{score};1\n"))


def test_rating_of_each_photo_is_needed_when_there_is_such_a_column(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="line 3: rating must be a number"):
        read_predictions(_write(tmp_path, "score,votes,rating\n.5,1,-1e1\n.5,1,\n"))


def test_error_names_each_defect_with_its_line(tmp_path: Path) -> None:
    path = _write(tmp_path, "score,votes\nnan,1\n1.01,1\n0.5,-1\n0.5,1\n0.5,1.5\n,1\n")

    with pytest.raises(UsageError) as raised:
        read_predictions(path)

    message = str(raised.value)
    assert "line 2: score must be a number with" in message
    assert "lines 3, 7: score must be a number from 0 to 1" in message
    assert "line 4: votes must be a whole number, 0 or more, not '-1'" in message
    assert "line 6: votes must be a whole number, 0 or more, not '1.5'" in message
    assert "; and " not in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["", "score\n0.5\n", "score,votes\n"])
def test_file_is_refused_when_it_holds_no_predictions(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"lack the column|no rows"):
        read_predictions(_write(tmp_path, text))


def test_file_is_refused_when_it_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_bytes(b"score,votes\n\xff\xfe,1\n")

    for path in (tmp_path / "predictions.csv", tmp_path / "missing.csv"):
        with pytest.raises(UsageError, match="cannot be read"):
            read_predictions(path)
