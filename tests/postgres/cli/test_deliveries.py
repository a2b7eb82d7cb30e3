"""Events for other systems as an operator meets them: tasks, `triage deliveries`, `triage doctor` and metrics."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from ipaddress import IPv4Network
from typing import TypeAlias

import pytest
from celery import Celery
from prometheus_client import generate_latest
from prometheus_client.registry import CollectorRegistry
from pydantic import SecretStr
from sqlalchemy import text

from tests.support.command_line import Result
from tests.support.webhook_receiver import SECRET, WebhookReceiver, webhook_receiver
from triage.domain.ids import new_id
from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.storage.database import Sessions
from worker.app import create_app
from worker.doctor.problems import run_check
from worker.doctor.systems import check_deliveries
from worker.exporter import Exporter
from worker.queues import TaskName
from worker.setting_groups import WebhookSettings
from worker.settings import Settings
from worker.tasks.base import WorkerServices, services_of

Triage: TypeAlias = Callable[..., Result]


class Site:
    """The tasks of workers whose settings name a receiver, run in this process."""

    def __init__(self, settings: Settings, sessions: Sessions, receiver: WebhookReceiver) -> None:
        webhook = WebhookSettings(
            url=SecretStr(receiver.server.url_for("/hook")),
            secret=SecretStr(SECRET),
            local_networks=(IPv4Network("127.0.0.0/8"),),
        )
        self.app: Celery = create_app(settings.model_copy(update={"webhook": webhook}))
        self.app.loader.import_default_modules()
        self.services: WorkerServices = services_of(self.app)
        self.receiver = receiver
        self._sessions = sessions

    def run(self, task: TaskName) -> None:
        self.app.tasks[task]()

    def decide(self, *messages: str) -> None:
        """Sends messages that are decided at once, because nothing can be fetched."""
        refused = [IncomingAttachment(uri="file:///elsewhere/a.jpg")]
        self.services.intake.enqueue([IncomingMessage("ehr", message, refused) for message in messages])

    def execute(self, sql: str) -> None:
        """Changes rows as no worker may."""
        with self._sessions.begin() as session:
            session.execute(text(sql))


@pytest.fixture
def site(settings: Settings, sessions: Sessions, environment: Callable[[str, str], None]) -> Iterator[Site]:
    with webhook_receiver() as receiver:
        for name, value in receiver.variables.items():
            environment(name, value)
        site = Site(settings, sessions, receiver)
        yield site
        site.services.close()


def test_sweep_registers_the_target_and_wakes_a_sender_when_an_event_is_due(site: Site) -> None:
    site.decide("too-early")
    site.run(TaskName.SWEEP)
    assert not site.services.redis.exists(f"{site.services.settings.redis.key_prefix}deliveries")

    site.decide("m-1")
    site.run(TaskName.SWEEP)

    assert site.services.redis.llen(f"{site.services.settings.redis.key_prefix}deliveries") == 1
    site.run(TaskName.DELIVER)
    assert [event["data"]["message_id"] for event in site.receiver.events] == ["m-1"]


def test_operator_lists_retries_and_drops_events(site: Site, triage: Triage) -> None:
    site.run(TaskName.SWEEP)
    site.decide("m-1", "m-2", "m-3")
    site.execute("UPDATE delivery SET status = 'dead', error = 'refused', answer = 500, finished_at = now()")

    listed = triage("deliveries", "list", "--status", "dead", "--json").json
    first, second, third = (each["event_id"] for each in listed)

    assert {each["message_id"] for each in listed} == {"m-1", "m-2", "m-3"}
    assert {(each["error"], each["answer"], each["due_at"]) for each in listed} == {("refused", 500, None)}
    assert "refused 500" in triage("deliveries", "list").out
    assert triage("deliveries", "list", "--target", "other", "--json").json == []
    assert triage("deliveries", "drop", first, "--by", "op-1", "--json").json == {"events": [first]}
    assert triage("deliveries", "retry", second, "--by", "op-1").out == "1 event: due now\n"
    assert triage("deliveries", "retry", "--dead", "--by", "op-1", "--json").json == {"events": [third]}
    site.run(TaskName.DELIVER)
    assert set(site.receiver.accepted) == {second, third}
    assert [each["status"] for each in triage("deliveries", "list", "--json").json].count("delivered") == 2


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_change_of_an_event_is_refused_in_one_line(site: Site, triage: Triage, command: str) -> None:
    unknown = triage("deliveries", command, str(new_id()), "--by", "op-1")
    neither = triage("deliveries", command, "--by", "op-1")
    both = triage("deliveries", command, str(new_id()), "--dead", "--by", "op-1")

    assert (unknown.code, neither.code, both.code) == (2, 2, 2)
    assert unknown.complaint().startswith("triage: no delivery has this event id: ")
    assert neither.complaint() == both.complaint() == "triage: give EVENT_ID or --dead"


def test_target_is_stopped(site: Site, triage: Triage) -> None:
    site.run(TaskName.SWEEP)
    site.decide("m-1")

    assert (
        triage("deliveries", "stop", "webhook", "--by", "op-1").out == "target webhook: stopped, with 1 event dropped\n"
    )
    site.decide("m-2")

    assert [each["status"] for each in triage("deliveries", "list", "--json").json] == ["dropped"]
    again = triage("deliveries", "stop", "webhook", "--by", "op-1")
    assert (again.code, again.complaint()) == (2, "triage: no such target: there is none")


def test_doctor_says_what_is_wrong_with_a_target(site: Site, services: WorkerServices) -> None:
    def check(services: WorkerServices = site.services) -> tuple[bool, str]:
        checked = run_check("deliveries", lambda: check_deliveries(services))
        return checked.ok, checked.detail

    assert check(services) == (True, "no target")
    assert check() == (True, "the first sweep registers the target")
    site.run(TaskName.SWEEP)
    site.decide("m-1")
    assert check() == (True, "webhook: 1 waiting")
    assert check(services) == (False, "events are stored for webhook, and these settings do not name it")
    site.execute("UPDATE delivery SET created_at = created_at - interval '2 hours'")
    assert check() == (False, "webhook has not accepted an event for over an hour")
    site.execute("UPDATE delivery SET status = 'dead', finished_at = now()")
    assert check() == (False, "1 event is dead: all attempts to send failed")


def test_metrics_count_events_by_target_and_state(site: Site) -> None:
    site.run(TaskName.SWEEP)
    site.decide("m-1", "m-2")
    site.run(TaskName.DELIVER)
    site.decide("m-3")
    site.execute("UPDATE delivery SET created_at = created_at - interval '2 hours' WHERE status = 'pending'")
    registry = CollectorRegistry()
    registry.register(Exporter(site.services, stall=timedelta(minutes=1)))

    lines = generate_latest(registry).decode()

    assert 'triage_deliveries{state="delivered",target="webhook"} 2.0' in lines
    assert 'triage_deliveries{state="pending",target="webhook"} 1.0' in lines
    assert 'triage_deliveries{state="dead",target="webhook"} 0.0' in lines
    [age] = [line for line in lines.splitlines() if line.startswith("triage_oldest_waiting_delivery_seconds{")]
    assert 7200 <= float(age.split()[1]) < 7300
