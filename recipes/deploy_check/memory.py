"""The memory of containers that cannot be given back: anonymous, shared and, with cgroup 2, the kernel's. Not files."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from recipes.deploy_check.engine import Stack

_WATCH: Final = """
cd /sys/fs/cgroup; names='^(anon|shmem|kernel) '
test -e memory.stat || { cd memory; names='^(rss|shmem) '; }
while :; do sum=0; while read -r name n; do sum=$((sum + n)); done <<END
$(grep -E "$names" memory.stat)
END
echo $((sum / 1048576)); sleep 0.2; done
"""


@contextmanager
def peaks(stack: Stack) -> Iterator[dict[str, int]]:
    """Measures five times a second; the yielded dictionary has the peak of each service in MB."""
    highest: dict[str, int] = {}
    watchers: list[tuple[subprocess.Popen[str], threading.Thread]] = []

    def read(service: str, process: "subprocess.Popen[str]") -> None:
        for line in process.stdout or ():
            highest[service] = max(highest.get(service, 0), int(line))

    for service in ("postgres", "redis", *stack.parts()):
        for number in range(len(stack.containers(service))):
            process = stack.spawn(service, "sh", "-c", _WATCH, number=number)
            thread = threading.Thread(target=read, args=(service, process), daemon=True)
            thread.start()
            watchers.append((process, thread))
    try:
        yield highest
    finally:
        for process, thread in watchers:
            process.terminate()  # the loop in the container ends with it: its output is closed
            process.wait()
            thread.join()
