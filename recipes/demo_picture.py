"""Runs `make demo` in a terminal of 80 columns and writes its output to `docs/demo.svg`.

python -m recipes.demo_picture
"""

import io
import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

_COLUMNS: Final = 80
_STATE: Final = "~/.local/state/skin-photo-triage"  # the state folder of a user who sets no other
_PICTURE: Final = Path(__file__).parents[1] / "docs" / "demo.svg"


def main() -> None:
    output = bytearray()

    def record(terminal: int) -> bytes:
        data = os.read(terminal, 65_536)
        output.extend(data)
        return data

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # root's Postgres runs as nobody and needs to reach its folder
        os.environ |= {"COLUMNS": str(_COLUMNS), "TERM": "xterm-256color", "TRIAGE_HOME": f"{folder}/state"}
        subprocess.run(["make", "--silent", "setup"], check=True, stdout=subprocess.DEVNULL)  # no part of the picture
        if status := pty.spawn(["make", "--no-print-directory", "demo"], record):
            sys.exit(f"the demo failed: status {status}")
        text = output.decode().replace(f"{folder}/state", _STATE)
    _PICTURE.write_text(_svg(text), encoding="utf-8")


def _svg(output: str) -> str:
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print("$ make demo")
    for line in output.replace("\r\n", "\n").split("\n"):
        shown = re.split(r"\r|\x1b\[K", line)[-1]  # progress rewrites its line
        console.print(Text.from_ansi(shown))
    svg = console.export_svg(title="triage demo", unique_id="demo")
    # a picture in a page loads no fonts from elsewhere
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace(
        "Fira Code, monospace", "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace"
    )


if __name__ == "__main__":
    main()
