"""Shows the size of each layer of an image, and checks in a container of it that it holds only what runs.

.venv/bin/python -m recipes.image_report skin-photo-triage:latest-cuda
"""

import re
import subprocess
import sys
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from recipes.deploy_check.engine import find_program

_FORBIDDEN: Final = {
    "headers": "find /opt/triage -type d -name include ! -path '*.dist-info/*'",
    "static archives": "find /opt/triage -type f -name '*.a'",
    # numpy.testing reads a folder of numpy's tests, and torch imports some of its own
    "tests of dependencies": "find /opt/triage -type d -name tests ! -path '*/numpy/*' ! -path '*/torch/*' -prune",
    "setuid or setgid programs": "find / -xdev -type f -perm /6000",
    "uv and its lock": "find /opt/triage/bin /usr/local/bin /opt/triage/.lock -name uv -o -name uvx -o -name .lock",
    "scripts to activate the environment": "find /opt/triage/bin -name 'activate*'",
    # torch needs setuptools
    "pip": "find /opt/triage /usr/local -type d -name pip -path '*-packages/pip'",
    "compilers": "find /usr/bin /opt/triage -name cc -o -name gcc -o -name ptxas -o -path '*-packages/triton'",
    "files that its user may change": "find /opt/triage -writable ! -type l",
}
"""What each command prints must be empty, for the user of the image."""

_SETTLED: Final = {
    "MPLCONFIGDIR": 'test -n "$MPLCONFIGDIR" && mkdir -p "$MPLCONFIGDIR" && test -w "$MPLCONFIGDIR"',
    "user without rights": 'test "$(id -u)" = 10001',
    "imports": "python -c 'import torch, torchvision, celery, worker.app, triage.model.network'",
    "command": "triage --version",
}
"""Commands that must succeed."""

_MARK: Final = "== "


@click.command()
@click.argument("image")
def main(image: str) -> None:
    """Show the layers of IMAGE and check its content. Exits with 1 if it holds what it should not."""
    program = find_program()
    if program is None:
        print("image-report: skipped: neither Docker nor podman answers")
        return
    _show_layers(program, image)
    found = _ask(program, image)
    for name in _FORBIDDEN:
        print(f"no {name}: {', '.join(found[name][:5]) or 'ok'}")
    for name in _SETTLED:
        print(f"{name}: {'ok' if found[name] else 'WRONG'}")
    if broken := [name for name, lines in found.items() if bool(lines) is (name in _FORBIDDEN)]:
        sys.exit(f"image-report: {', '.join(broken)}")


def _show_layers(program: str, image: str) -> None:
    """Prints what the engine says of each layer that has a size, newest first, and the sum."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("size", justify="right")
    table.add_column("layer")
    for line in _output(program, "history", "--no-trunc", "--format", "{{.Size}}\t{{.CreatedBy}}", image).splitlines():
        of_layer, _, by = line.partition("\t")
        if not of_layer.startswith("0"):
            table.add_row(of_layer, re.sub(r"^(\|\d+ .*?)?/bin/sh -c (#\(nop\) +)?|:[0-9a-f]{64}", "", by).strip()[:80])
    size = int(_output(program, "image", "inspect", "--format", "{{.Size}}", image))
    table.add_row(f"{size / 1e9:.2f} GB", "all")
    Console(width=120).print(table)


def _ask(program: str, image: str) -> dict[str, list[str]]:
    """Runs all commands in one container of the image, hardened as in Compose. Returns the lines that each prints."""
    asked = _FORBIDDEN | {name: f"({command}) >/dev/null 2>&1 && echo ok" for name, command in _SETTLED.items()}
    script = "\n".join(f"echo '{_MARK}{name}'\n{command} 2>/dev/null || true" for name, command in asked.items())
    hardened = ("--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp")  # noqa: S108  # in a container
    answer = _output(program, "run", *hardened, "--entrypoint", "sh", image, "-c", script)
    found: dict[str, list[str]] = {}
    for line in answer.splitlines():
        if line.startswith(_MARK):
            found[line.removeprefix(_MARK)] = lines = []
        else:
            lines.append(line)
    return found


def _output(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"image-report: {' '.join(words[:3])}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


if __name__ == "__main__":
    main()
