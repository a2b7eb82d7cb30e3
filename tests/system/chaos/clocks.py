"""Wall clocks that step and differ between hosts: leases and schedules must not depend on them."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.system.chaos.kills import kill
from tests.system.chaos.site import Scale, Site

_SOURCE: Final = Path(__file__).with_name("shifted_clock.c")
_HOURS: Final = (1, -1, 24, -24)


def can_shift() -> bool:
    """Whether a C compiler is available to build the preloaded library that shifts clocks."""
    return shutil.which("cc") is not None


def step_clocks(site: Site, scale: Scale) -> int:
    """Steps the clocks of beat, sweeper and scorers by different hours; kills scorers after each step."""
    library = site.folder / "shifted_clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, _SOURCE, "-ldl"], check=True)
    clocks = {}
    for name in ("beat-1", "intake-1", "scoring-1", "scoring-2"):
        clocks[name] = site.folder / f"{name}.clock"
        clocks[name].write_text("0")
        site.parts.variables_of[name] = {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(clocks[name])}
    site.parts.start(*clocks)
    n = max(len(_HOURS), scale.times)
    for step in range(n):
        site.send(scale, 1 / n)
        site.wait_for_work()
        for place, clock in enumerate(clocks.values()):
            clock.write_text(str(3600 * _HOURS[(step + place) % len(_HOURS)]))
        for name in ("scoring-1", "scoring-2"):
            kill(site, name, child=True)  # their leases expire and a sweep requeues the photos
        site.fault_ended()
        site.settle()
    return n
