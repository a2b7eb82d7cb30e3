"""`make deploy-check`: the image, the Compose stack, an operator's first hour, and faults of containers.

.venv/bin/python -m recipes.deploy_check

Everything runs under a project of its own, publishes no port, and is removed at the end, also after Ctrl-C.
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
import yaml
from rich.console import Console
from rich.table import Table

from recipes.deploy_check.counts import Row, count, settle
from recipes.deploy_check.engine import CheckError, Stack, find_engine
from recipes.deploy_check.faults import CLOCKS, FAULTS, LEASE_SECONDS, Fault, can_shift_clocks
from recipes.deploy_check.first_hour import first_hour, install, prepare
from recipes.deploy_check.memory import peaks
from recipes.deploy_check.photos import Photos
from triage.model.starter import STARTER_FOLDER

_ROOT: Final = Path(__file__).parents[2]
_RELEASE: Final = (
    *("LICENSE", "README.md", "THIRD-PARTY-NOTICES.md", "Dockerfile", ".dockerignore", "docker-compose.yml"),
    *("pyproject.toml", "deploy", "migrations", "requirements", "triage", "worker"),
)
_MODEL: Final = "clinic-1"
"""As in the page."""

_SEND_SECONDS: Final = 20
_BOMBS: Final = 8


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(FAULTS)))
@click.option("--image", help="Use this image for all parts instead of building one.")
@click.option("--torch", default="cpu", show_default=True, type=click.Choice(["cpu", "cuda"]), help="Build with it.")
@click.option("--photos", default=40, show_default=True, type=click.IntRange(min=10), help="Photos for each fault.")
def check(names: tuple[str, ...], *, image: str | None, torch: str, photos: int) -> None:
    """Run the first hour and all faults, or those named. Exits with 1 if anything is lost or doubled."""
    engine = find_engine()
    if isinstance(engine, str):
        print(f"deploy-check: skipped: {engine}")
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with tempfile.TemporaryDirectory(prefix="triage-deploy-check-") as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        stack = Stack(engine, folder, f"triage-check-{secrets.token_hex(3)}")
        print(f"deploy-check: {engine.command}, project {stack.project}", flush=True)
        try:
            _unpack(folder)
            _write_files(stack, image, torch)
            rows, memory = _check(stack, names or tuple(FAULTS), photos, build=image is None)
        except CheckError as error:
            raise SystemExit(f"deploy-check: {error}\n{_logs(stack)}") from None
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        finally:
            stack.remove()
    _print(rows, memory)
    if broken := [row.title for row in rows if row.lost or row.doubled]:
        raise SystemExit(f"deploy-check: lost or doubled: {', '.join(broken)}")


def _interrupt(*_: object) -> None:
    """Ctrl-C and SIGTERM end the check, which removes everything; a second one does not end the removal."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    os.write(2, b"deploy-check: interrupted: removing what it started\n")  # print() may be what is interrupted
    raise KeyboardInterrupt


def _check(stack: Stack, names: tuple[str, ...], n_photos: int, *, build: bool) -> tuple[list[Row], Mapping[str, int]]:
    print("the installation of docs/operations/install.md", flush=True)
    prepare(stack, lambda: _fill_in(stack.folder / ".env"))
    incoming = stack.folder / "exchange" / "incoming"
    photos = Photos(incoming)
    shutil.copyfile(incoming / next(iter(photos.write("hour", 1)["hour-0"])), incoming / "photo1.jpg")
    _write_model(stack.folder / "exchange" / "models" / _MODEL)
    install(stack, build=build)
    print("the first hour of docs/operations/install.md", flush=True)
    first_hour(stack)
    client = ["add", "check", "--scope", "messages.write", "--source", "check", "--by", "op-1", "--json"]
    key = json.loads(stack.run("cli", "clients", *client))["key"]
    rows: list[Row] = []
    memory: Mapping[str, int] = {}
    for name in names:
        if name == "clocks" and not _shift_clocks(stack):
            print("clocks: skipped: no C compiler (cc) to build the library that shifts clocks", flush=True)
            continue
        fault = FAULTS[name]
        print(f"{time.strftime('%H:%M:%S')} {fault.title}", flush=True)
        if fault.bombs:
            with peaks(stack) as memory:
                rows.append(_inflict(stack, name, fault, photos, key, _BOMBS))
        else:
            rows.append(_inflict(stack, name, fault, photos, key, n_photos))
    stack.run("cli", "doctor")
    stack.run("cli", "audit", "verify")
    return rows, memory


def _inflict(stack: Stack, name: str, fault: Fault, photos: Photos, key: str, n: int) -> Row:
    """Sends messages, does harm at the same time, and counts what became of the messages."""
    messages = photos.write_bombs(name, n) if fault.bombs else photos.write(name, n)
    started = time.monotonic()
    sender = stack.spawn("sender", "python", "/check/send.py")
    order = {
        "key": key,
        "messages": {message: list(files) for message, files in messages.items()},
        "seconds": 0 if fault.bombs else _SEND_SECONDS,
        "http_only": fault.http_only,
    }
    assert sender.stdin is not None
    sender.stdin.write(json.dumps(order))
    sender.stdin.close()
    sender.stdin = None
    try:
        fault.inflict(stack)
        out, err = sender.communicate(timeout=600)
    except subprocess.TimeoutExpired:
        raise CheckError(f"{name}: the sender does not end") from None
    finally:
        sender.kill()
    if sender.returncode != 0:
        raise CheckError(f"{name}: {err[-2000:]}")
    answer = json.loads(out)
    settle(stack)
    if fault.must_refuse and not answer["refused"]:
        raise CheckError(f"{name}: every message was accepted during the fault")
    row = count(stack, messages, answer, title=fault.title, seconds=time.monotonic() - started)
    print(
        f"  {row.sent} photos, {row.verdicts} verdicts, {row.unreadable} unreadable, {row.lost} lost, "
        f"{row.doubled} doubled, {row.refused} refusals, {row.seconds:.0f} s",
        flush=True,
    )
    return row


def _unpack(folder: Path) -> None:
    """The files of a release, as an operator has them."""
    for name in _RELEASE:
        source = _ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, folder / name)
    (folder / "check").mkdir()
    shutil.copyfile(Path(__file__).with_name("send.py"), folder / "check" / "send.py")


def _write_files(stack: Stack, image: str | None, torch: str) -> None:
    """The files of Compose that this check adds: a sender, a small volume for photos, shifted clocks."""
    services = yaml.safe_load((stack.folder / "docker-compose.yml").read_text("utf-8"))["services"]
    parts = [name for name, service in services.items() if "skin-photo-triage" in service["image"]]
    sender = {key: value for key, value in services["cli"].items() if key not in {"profiles", "depends_on", "build"}}
    sender |= {"entrypoint": ["sleep", "infinity"], "command": [], "volumes": [*sender["volumes"], "./check:/check:ro"]}
    image = image or f"skin-photo-triage:deploy-check-{torch}"
    added: dict[str, Any] = {name: {"image": image, "build": {"args": {"TORCH": torch}}} for name in parts}
    added["sender"] = sender | {"image": image}
    # podman reads `size` and `uid` itself, for quotas of the disk: blocks of 4 KiB and a mode are tmpfs's alone.
    # `triage doctor` wants 1 GiB free.
    volumes = {"blobs": {"driver_opts": {"type": "tmpfs", "device": "tmpfs", "o": "nr_blocks=524288,mode=1777"}}}
    (stack.folder / "check.yml").write_text(yaml.safe_dump({"services": added, "volumes": volumes}), "utf-8")
    clocks = {
        name: {
            "environment": {"LD_PRELOAD": "/check/shifted_clock.so", "CHAOS_CLOCK": f"/check/{name}.clock"},
            "volumes": ["./check:/check:ro"],
        }
        for name in CLOCKS
    }
    (stack.folder / "clocks.yml").write_text(yaml.safe_dump({"services": clocks}), "utf-8")


def _shift_clocks(stack: Stack) -> bool:
    """Builds the library that shifts clocks; False without a compiler."""
    if not can_shift_clocks():
        return False
    source = _ROOT / "tests/system/chaos/shifted_clock.c"
    library = stack.folder / "check" / "shifted_clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    for name, seconds in CLOCKS.items():
        (stack.folder / "check" / f"{name}.clock").write_text(str(seconds))
    return True


def _fill_in(path: Path) -> None:
    """Sets the passwords and what a check needs: two workers, the HTTP interface and short leases."""
    text = path.read_text("utf-8")
    for name in ("POSTGRES", "MIGRATOR", "WORKER", "REPORT", "REDIS"):
        text = text.replace(f"\n{name}_PASSWORD=\n", f"\n{name}_PASSWORD={secrets.token_hex(32)}\n")
    more = {
        "CPU_WORKERS": "2",
        "COMPOSE_PROFILES": "api",
        "TRIAGE_SCORER__THREADS": "1",  # two workers on two cores
        "TRIAGE_INBOX__LEASE_SECONDS": str(LEASE_SECONDS),
        "TRIAGE_INBOX__RETRY_BACKOFF_SECONDS": "2",
        "TRIAGE_INTAKE__MAX_BYTES": str(60 * 2**20),
    }
    # another image of Redis or Valkey, such as one of a mirror
    more |= {name: os.environ[name] for name in ("REDIS_IMAGE", "REDIS_USER") if name in os.environ}
    path.write_text(text + "".join(f"{name}={value}\n" for name, value in more.items()), "utf-8")


def _write_model(folder: Path) -> None:
    """The starter model under the name that the page uses."""
    folder.mkdir()
    shutil.copyfile(STARTER_FOLDER / "weights.safetensors", folder / "weights.safetensors")
    card = json.loads((STARTER_FOLDER / "card.json").read_text("utf-8")) | {"name": _MODEL}
    (folder / "card.json").write_text(json.dumps(card), "utf-8")


def _logs(stack: Stack) -> str:
    """The last lines of every container, for a check that failed."""
    lines = []
    for service in ("postgres", "redis", *stack.parts()):
        for container in stack.containers(service, all_states=True):
            done = subprocess.run(
                [stack.engine.command, "logs", "--tail", "5", container], capture_output=True, text=True, check=False
            )
            lines.append(f"--- {service}\n{done.stdout}{done.stderr}")
    return "".join(lines)


def _print(rows: list[Row], memory: Mapping[str, int]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("fault")
    for column in ("sent", "verdicts", "unreadable", "lost", "doubled", "refusals", "seconds"):
        table.add_column(column, justify="right")
    for row in rows:
        counts = (row.sent, row.verdicts, row.unreadable, row.lost, row.doubled, row.refused, round(row.seconds))
        table.add_row(row.title, *map(str, counts))
    console = Console(width=120)
    console.print(table)
    if memory:
        peak = ", ".join(f"{service} {megabytes} MB" for service, megabytes in sorted(memory.items()))
        console.print(f"peak memory with photos of 100 million pixels: {peak}")


if __name__ == "__main__":
    check()
