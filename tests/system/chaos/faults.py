"""All faults by name, and how one of them is injected and checked."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from tests.system.chaos import (
    api,
    client_kills,
    clocks,
    fhir,
    forgeries,
    harm,
    kills,
    migrations,
    rescoring,
    services,
    webhooks,
)
from tests.system.chaos.checks import Checked, check
from tests.system.chaos.site import Scale, Site, open_site

FULL: Final = Scale(messages=300, photos=1000, kills=50, times=5, seconds=60)
SHORT: Final = Scale(messages=12, photos=40, kills=4, times=1, seconds=4)


@dataclass(frozen=True)
class Fault:
    """
    Attributes:
        title: of the table's row.
        inflict: sends messages, does harm and settles; returns how often the fault struck.
        variables: settings of the parts besides the usual ones.
    """

    title: str
    inflict: Callable[[Site, Scale], int]
    variables: Mapping[str, str] = field(default_factory=dict)


FAULTS: Final[Mapping[str, Fault]] = MappingProxyType(
    {
        "kills": Fault("SIGKILL of scorer, parents, beat, training, sweeper", kills.kill_at_random),
        "client-kills": Fault("SIGKILL of senders, claimers and workers", client_kills.kill_all_at_random),
        "outside-kills": Fault("SIGKILL of the scorer while it holds photos", kills.kill_from_outside),
        "redis-lost": Fault("Redis killed, restarted empty", services.lose_redis),
        "redis-stopped": Fault("Redis stopped with SIGSTOP", services.stop_redis),
        "redis-refuses": Fault("Redis refuses connections while messages arrive", services.refuse_redis),
        "postgres-restarted": Fault("Postgres restarted in immediate mode", services.restart_postgres),
        "connections-cut": Fault("connections to Postgres cut in transactions", services.cut_connections),
        "postgres-lost": Fault("Postgres accepts no connection", services.lose_postgres),
        "postgres-full": Fault("every connection of Postgres is taken", services.fill_postgres),
        "crowd": Fault("two sweepers, two beats, five scorers", kills.crowd),
        "hang": Fault("scorer hangs beyond its lease", kills.hang),
        "clocks": Fault("clocks step by hours", clocks.step_clocks),
        "poison": Fault("photos that kill their scorer", harm.send_poison, {"INBOX__MAX_LOST_LEASES": "3"}),
        "raises": Fault("photos that raise in a batch", harm.raise_in_batch),
        "memory": Fault("out of memory in the scorer", harm.exhaust_memory),
        "blobs-full": Fault("disk full for blobs", harm.fill_disk_of_blobs),
        "logs-full": Fault("disk full for logs", harm.fill_disk_of_logs),
        "rolling": Fault("SIGTERM of one part after another", kills.roll),
        "expand": Fault("next release's migration, and back", migrations.expand),
        "downgrade": Fault("tables of an older release", migrations.downgrade),
        "malformed": Fault("malformed messages in all queues", forgeries.send_malformed),
        "forged-headers": Fault("messages with forged headers", forgeries.forge_headers),
        "webhooks": Fault("webhooks: 20 % of answers fail, senders killed", webhooks.tell_failing_receiver),
        "api-kills": Fault("triage serve: SIGKILL during uploads and before the answer", api.kill_server),
        "lane-kills": Fault("checked photos: SIGKILL of their workers and server", api.kill_in_lane),
        "api-services": Fault("waits and checked photos: Postgres and Redis lost", api.lose_services),
        "fhir": Fault("FHIR server: 20 % of answers fail, senders killed", fhir.write_to_failing_server),
        "rescoring": Fault("rescoring: kills, Redis lost, Postgres restarted", rescoring.rescore),
    }
)


@dataclass(frozen=True)
class Row:
    """The result of one fault. Times are informative only; no check depends on them."""

    fault: str
    title: str
    times: int
    checked: Checked
    seconds_to_recover: float | None
    seconds: float

    @property
    def holds(self) -> bool:
        return self.checked.lost == self.checked.doubled == 0


def inflict(name: str, scale: Scale, *, seed: int) -> Row:
    """
    Raises:
        AssertionError: work was left after the time limit, or an assertion of the scenario failed.
    """
    fault = FAULTS[name]
    started = time.monotonic()
    with open_site(seed, fault.variables) as site:
        site.collector.start()
        times = fault.inflict(site, scale)
        site.collector.close()
        checked = check(site.services, site.sender.sent, site.collector)
        return Row(name, fault.title, times, checked, site.seconds_to_recover(), time.monotonic() - started)
