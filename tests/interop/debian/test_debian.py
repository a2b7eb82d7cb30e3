"""The commands of docs/operations/debian.md, run in their order on a private copy of this machine with its own systemd.

Different from the page: nothing is downloaded. The lines in `OFFLINE` are replaced, so that the pinned packages are
those of the environment that runs this test, and `apt-get` finds what `tests/install-packages` has installed.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "operations" / "debian.md"
MACHINE = Path(__file__).with_name("machine")
IMPOSSIBLE = 77
WAIT_SECONDS = 900  # a minute and a half on an idle machine

INSTALL = "/opt/triage/bin/uv pip install --python /opt/triage"
OFFLINE = {
    "make setup TORCH=cpu": "ln -s /venv .venv",
    "/opt/triage/bin/pip install --quiet --require-hashes -r requirements/uv.txt": (
        "ln -s /venv/bin/uv /opt/triage/bin/"
    ),
    f"{INSTALL} --require-hashes --no-deps -r requirements/production-without-torch.txt": (
        "cd /opt/triage/lib/python3.*/site-packages; echo /venv/lib/python3.*/site-packages >pinned.pth; "
        "echo 'from asyncio import timeout' >async_timeout.py; cd -"  # pinned for Python before 3.11.3 only
    ),
    "UV=/opt/triage/bin/uv requirements/install-torch-cpu /opt/triage": "true",
}

BEFORE = {
    "Change a password": """
        old=$worker old_redis=$redis
    """,
    "Restore": """
        triage-as worker enqueue /var/tmp/photo.jpg --message-id after-the-backup
        stored >/tmp/stored
    """,
}

AFTER = {
    "Passwords and settings": """
        [ "$(stat --format='%U:%G %a' /etc/triage/*.env | tr '\\n' ' ')" = \
            'root:root 600 root:triage 640 root:triage 640 ' ]
        refused runuser -u triage -- cat /etc/triage/owner.env
    """,
    "Services": """
        [ -z "$(systemd-analyze verify /etc/systemd/system/triage*.service 2>&1)" ]
        for part in intake scoring training beat metrics; do
          systemd-analyze security --no-pager --offline=true --threshold=20 /etc/systemd/system/triage-$part.service \
            | grep 'Overall exposure level'
        done
        systemctl kill --signal=KILL triage-scoring
        until [ "$(systemctl show --property=NRestarts --value triage-scoring)" = 1 ]; do sleep 1; done
        /opt/triage/bin/python -c 'from PIL import Image; Image.linear_gradient("L").save("/var/tmp/photo.jpg")'
        chmod 0644 /var/tmp/photo.jpg
        score trial
    """,
    "Check": """
        [ "$(triage-as report report --format json | jq_total)" = 1 ]
        [ "$(find /var/lib/triage -not -user triage)" = '' ]
        /opt/triage/bin/python -c 'from urllib.request import urlopen; urlopen("http://127.0.0.1:9464/metrics").read()'
        [ -z "$(grep -rE 'password|triage_worker:' <(journalctl --no-pager --boot -u 'triage-*'))" ]
    """,
    "Alerts": """
        until promtool query instant http://127.0.0.1:9090 'sum(up)' | grep '=> 3 '; do sleep 1; done
        /opt/triage/bin/python -c 'from urllib.request import urlopen
assert b"127.0.0.1:9093" in urlopen("http://127.0.0.1:9090/api/v1/alertmanagers").read()'
        amtool --alertmanager.url=http://127.0.0.1:9093 config show | grep operators
        [ -z "$(ss -Hltn | grep -E '(0.0.0.0|\\*|\\[::\\]):(909|946)')" ]
    """,
    "Change a password": """
        refused psql "postgresql://triage_worker:$old@127.0.0.1/triage" --command='SELECT 1'
        [ "$(redis-cli --no-auth-warning -a "$old_redis" ping)" != PONG ]
        score new-passwords
    """,
    "Restore": """
        stored | diff - /tmp/stored
        triage-as report explain trial --by op-1
        refused triage-as report explain after-the-backup --by op-1
        score restored
    """,
}

HELP = """
set -euo pipefail
stored() { find /var/lib/triage/blobs /var/lib/triage/models -type f -printf '%u %m %P\\n' | sort; }
refused() { if "$@"; then return 1; fi; }
score() {
  triage-as worker enqueue /var/tmp/photo.jpg --message-id "$1" && triage-as worker wait --message-id "$1" --timeout 300
}
jq_total() { /opt/triage/bin/python -c 'import json, sys; print(json.load(sys.stdin)["messages"]["total"])'; }
set -x
"""


def _sections() -> list[tuple[str, str]]:
    """The heading and the commands of each section that has some."""
    text = PAGE.read_text(encoding="utf-8")
    sections = [section.partition("\n") for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]]
    blocks = [(title, "".join(re.findall(r"^```bash\n(.*?)^```$", body, re.M | re.S))) for title, _, body in sections]
    return [(title, commands) for title, commands in blocks if commands]


def _script() -> str:
    parts = [HELP]
    for title, commands in _sections():
        lines = [OFFLINE.get(line, line) for line in commands.splitlines()]
        parts += [f": {shlex.quote(title)}", BEFORE.get(title, ""), *lines, AFTER.get(title, "")]
    return "\n".join(parts)


def _missing() -> str | None:
    """Why this machine cannot run the page, if it cannot."""
    if os.geteuid() != 0:
        return "only root can copy the machine"
    if not Path("/etc/debian_version").exists():
        return "this is not Debian"
    programs = ("/lib/systemd/systemd", "redis-server", "pg_createcluster", "openssl", "unshare", "ip", "git", "amtool")
    missing = [program for program in programs if shutil.which(program, path=f"{os.defpath}:/usr/sbin:/sbin") is None]
    if missing:
        return f"missing: {', '.join(missing)}; run tests/install-packages as root"
    debian = subprocess.run(["/usr/bin/python3", "-V"], capture_output=True, text=True, check=False).stdout
    if not debian.startswith(f"Python 3.{sys.version_info.minor}."):
        return f"the packages of this environment are not for Debian's {debian.strip()}"
    return None


def test_every_replaced_line_and_checked_section_is_on_the_page() -> None:
    sections = dict(_sections())
    lines = {line for commands in sections.values() for line in commands.splitlines()}

    assert OFFLINE.keys() - lines == set()
    assert (BEFORE.keys() | AFTER.keys()) - sections.keys() == set()


def test_page_leads_from_a_bare_host_to_a_running_service(tmp_path: Path) -> None:
    if reason := _missing():
        pytest.skip(reason)
    script = tmp_path / "script"
    script.write_text(_script(), encoding="utf-8")

    done = subprocess.run(
        [MACHINE, script, ROOT, Path(sys.prefix)], capture_output=True, text=True, timeout=WAIT_SECONDS, check=False
    )

    if done.returncode == IMPOSSIBLE:
        pytest.skip(done.stdout.strip() or done.stderr.strip())
    assert done.returncode == 0, (done.stdout + done.stderr)[-20_000:]
