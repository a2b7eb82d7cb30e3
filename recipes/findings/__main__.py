"""Fits the findings and writes `triage/findings/findings.json` and the tables of `docs/findings.md`: ten minutes.

python -m recipes.findings DATA

DATA holds `clive/` (LIVE In the Wild: images/, and labels.csv with image, mos, mos_std, votes) and
`pad-ufes-20/images/` (file names start with PAT_<patient>_).
"""

import argparse
import json
import os
from pathlib import Path
from typing import Final

from recipes.findings.fitting import document_of, fit_findings
from recipes.findings.measuring import fit_skin_colour, measure_all
from recipes.findings.photos import read_originals
from recipes.findings.report import HeldOut, tables, write_tables
from triage.findings.rules import parse_models

_ROOT: Final = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()

    originals = read_originals(arguments.data)
    skin_colour = fit_skin_colour(originals)
    rows = measure_all(originals, skin_colour, arguments.processes)
    print(f"{len(rows)} samples of {len(originals)} photos measured", flush=True)
    document = document_of(skin_colour.weights, fit_findings(rows))
    text = json.dumps(document, indent=1)
    (_ROOT / "triage" / "findings" / "findings.json").write_text(text + "\n", encoding="utf-8")
    by_name = tables(HeldOut(rows, parse_models(document)), originals)
    for name, table in by_name.items():
        print(f"\n{name}\n{table}")
    write_tables(_ROOT / "docs" / "findings.md", by_name)


if __name__ == "__main__":
    main()
