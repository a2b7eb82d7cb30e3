import pytest

from worker.cli.run_text import sparkline


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], "▁▂▃▄▅▆▇█"),
        ([2.0, None, 1.0], "█ ▁"),
        ([0.5], "▁"),
        ([0.5, 0.5], "▁▁"),
        ([None], ""),
        ([], ""),
        ([0.0] * 50 + [1.0] * 50, "▁" * 24 + "█" * 24),
    ],
)
def test_sparkline_goes_from_the_lowest_to_the_highest_value(values: list[float | None], bars: str) -> None:
    assert sparkline(values) == bars
