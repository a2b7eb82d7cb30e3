"""Results as a Markdown page, for docs/performance.md."""

from collections.abc import Mapping, Sequence

from benchmarks.gpu.run import Result, Row, Value


def markdown(results: Mapping[str, Result]) -> str:
    return "\n".join(line for name, result in results.items() for line in _section(name, result))


def _section(name: str, result: Result) -> list[str]:
    values: list[Row] = []
    tables: list[tuple[str, Sequence[Row]]] = []
    for key, value in result.items():
        if isinstance(value, Sequence) and not isinstance(value, str):
            tables.append((key, value))
        else:
            values.append({"": key, name: value})
    lines = [f"## {name}", "", *_table(values)]
    for title, rows in tables:
        if rows:
            lines += [f"### {name}: {title}", "", *_table(rows)]
    return lines


def _table(rows: Sequence[Row]) -> list[str]:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if not columns:
        return []
    body = [[_cell(row.get(name)) for name in columns] for row in rows]
    return [_line(columns), _line(["---"] * len(columns)), *map(_line, body), ""]


def _cell(value: Value) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
