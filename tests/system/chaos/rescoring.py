"""Rescoring under faults: it resumes after every fault, scores each photo once and sends nothing."""

import time

from tests.system.chaos.kills import kill
from tests.system.chaos.services import kill_redis
from tests.system.chaos.site import Scale, Site


def rescore(site: Site, scale: Scale) -> int:
    """Two beats start the nightly run while scorers are killed, Redis is lost and Postgres is restarted."""
    site.parts.start("scoring-1", "scoring-2", "intake-1", "intake-2", "beat-1", "beat-2")
    site.send(scale)
    site.settle()
    requests = _requests(site)
    site.add_model("second")
    site.services.registry.promote("second", actor="chaos")
    for _ in range(2):  # as beat publishes it at the nightly hour
        site.services.celery.send_task("rescoring.start")
    site.wait_until(lambda: site.query("SELECT FROM verdict WHERE origin = 'rescoring' LIMIT 1"))

    faults = ["child", "parent", "redis", "postgres"]
    n_faults = 0
    for number in range(4 * scale.times):
        if not site.query("SELECT FROM run WHERE status = 'running'"):
            break
        _strike(site, faults[number % len(faults)])
        site.fault_ended()
        n_faults += 1
        time.sleep(site.dice.uniform(1, 4))
    site.settle()

    [run] = site.query("SELECT status, progress FROM run")
    [(scored, without)] = site.query(
        "SELECT count(v.id), count(*) - count(v.id) FROM attachment a LEFT JOIN verdict v ON v.attachment_id = a.id "
        "AND v.origin = 'rescoring' WHERE a.status = 'scored'"
    )
    assert run.status == "done", "the run did not end"
    assert without == 0, f"{without} photos were not rescored"
    assert run.progress["scored"] == scored, "the count of the run differs from its verdicts"
    assert _requests(site) == requests, "rescoring sent something"
    return n_faults


def _strike(site: Site, fault: str) -> None:
    match fault:
        case "child" | "parent":
            name = site.dice.choice(["scoring-1", "scoring-2"])
            kill(site, name, child=fault == "child")
        case "redis":
            kill_redis(site)
            site.redis.start()
        case "postgres":
            site.postgres.stop("immediate")
            site.postgres.start()


def _requests(site: Site) -> set[object]:
    return {tuple(row) for row in site.query("SELECT id, status, sent_at FROM retake_request")}
