from triage.reports.csv_table import render_csv

COUNTS = {"total": 2, "pass": 0, "retake": 1, "uncertain": 1, "not_assessable": 0, "pending": 0, "retake_rate": 0.5}


def test_csv_neutralises_formulas_and_escapes_what_is_not_printable() -> None:
    sources = ["ehr", "=1+1", "-1.5", "\x1b[2J", "a\u202eb", "@x,y"]
    summary = {"by": ["source"], "groups": [{"source": source} | COUNTS for source in sources]}

    heading, *rows = render_csv(summary).splitlines()

    assert heading.startswith("source,total,")
    assert [row.removesuffix(",2,0,1,1,0,0,0.5") for row in rows] == [
        "ehr",
        "'=1+1",
        "-1.5",
        r"\x1b[2J",
        r"a\u202eb",
        '"\'@x,y"',
    ]
