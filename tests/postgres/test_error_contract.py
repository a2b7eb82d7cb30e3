"""Every use case and task, with any arguments, returns or raises a documented error without rows and SQL."""

import ast
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime
from sqlalchemy import text

from tests.support.cards import make_card
from tests.support.hostile import DURATIONS, IDS, NOT_FINITE, NUMBERS, TIMES, json_values, paths, texts, values
from triage.blobs.source import PhotoSource
from triage.blobs.store import BlobStore
from triage.domain.arrivals import Events, Found
from triage.domain.audit import Anchor
from triage.domain.card import Card
from triage.domain.ids import new_id
from triage.domain.messages import HeldRequest, IncomingAttachment, IncomingMessage, Origin
from triage.domain.photo_reviews import SamplingRule
from triage.domain.queue import Place
from triage.domain.reporting import Period
from triage.errors import DefectError, TriageError, UsageError
from triage.files.received import ReceivedBytes
from triage.intake import Intake
from triage.photo_store import PhotoStore
from triage.queue.photos import PhotoViews
from triage.registry import Registry
from triage.retakes.policy import RetakePolicy
from triage.retakes.scenario import Scenario
from triage.retention.purge import Retention
from triage.scoring.assessments import Assessments
from triage.scoring.maps import QualityMaps
from triage.storage.database import Sessions
from triage.storage.use_case import use_case
from worker import client
from worker.queues import SENDER_TASKS
from worker.tasks.base import WorkerServices, services_of

pytestmark = pytest.mark.long

PATIENT: Final = "Erika-Mustermann-1971"
"""Part of every id of another sender's message. No error may contain it."""

LEAKS: Final = ("SELECT ", "INSERT ", "UPDATE ", "DELETE ", "[SQL", "psycopg.", "sqlalche.me", PATIENT)
SOURCES: Final = Path(__file__).parents[2] / "triage"


@dataclass(frozen=True)
class Declared:
    """A public function or method of `triage` that takes sessions or belongs to a class that has them."""

    module: str
    path: str
    is_use_case: bool

    def __str__(self) -> str:
        return f"{self.module}.{self.path}"

    @property
    def function(self) -> Callable[..., Any]:
        found: Any = importlib.import_module(self.module)
        for name in self.path.split("."):
            found = getattr(found, name)
        function: Callable[..., Any] = found
        return function


def _declared() -> Iterator[Declared]:
    for file in sorted(SOURCES.rglob("*.py")):
        module = ".".join(("triage", *file.relative_to(SOURCES).with_suffix("").parts))
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                yield from _public(module, node.name, node)
            elif isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef):
                        yield from _public(module, f"{node.name}.{inner.name}", inner)


def _public(module: str, path: str, node: ast.FunctionDef) -> Iterator[Declared]:
    is_use_case = any(isinstance(each, ast.Name) and each.id == "use_case" for each in node.decorator_list)
    takes_sessions = any(ast.unparse(arg.annotation or node) == "Sessions" for arg in node.args.args)
    if is_use_case or (takes_sessions and not node.name.startswith("_") and not module.startswith("triage.storage")):
        yield Declared(module, path, is_use_case)


DECLARED: Final = list(_declared())
USE_CASES: Final = [each for each in DECLARED if each.is_use_case]


def test_every_function_that_takes_sessions_is_a_use_case() -> None:
    assert [str(each) for each in DECLARED if not each.is_use_case] == []
    assert {"triage.intake.Intake.enqueue", "triage.retakes.override.override"} <= set(map(str, USE_CASES))


class Arguments:
    """Arguments of use cases: right ones by annotation, and wrong ones."""

    def __init__(self, services: WorkerServices, folder: Path, received: ReceivedBytes) -> None:
        self.received = received
        owner: Mapping[type, object] = {
            Intake: services.intake,
            Registry: services.registry,
            Retention: services.retention,
            PhotoStore: services.photo_store,
            Assessments: services.assessments,
            PhotoViews: services.photo_views,
            QualityMaps: services.quality_maps,
        }
        self.places = paths(folder)
        self._fixed: Mapping[Any, object] = {
            **owner,
            Sessions: services.sessions,
            RetakePolicy: RetakePolicy(),
            BlobStore: services.blobs,
            PhotoSource: services.source,
        }
        self._owners = {kind.__name__: service for kind, service in owner.items()}

    def of(self, use_case: Declared) -> st.SearchStrategy[dict[str, Any]]:
        """Arguments by name; at most two of them have a wrong type, because the first wrong one ends the call."""
        hints = get_type_hints(use_case.function)
        names = list(inspect.signature(use_case.function).parameters)
        owner = {"self": self._owners.get(use_case.path.split(".")[0])} if names[0] == "self" else {}
        right = st.fixed_dictionaries({name: self._right(hints[name]) for name in names if name not in owner})
        wrong = st.dictionaries(st.sampled_from([n for n in names if n not in owner] or ["none"]), values(), max_size=2)
        merged = st.builds(lambda a, b: a | {k: v for k, v in b.items() if k in a}, right, wrong)
        return merged.map(lambda arguments: owner | arguments)

    def _right(self, hint: Any) -> st.SearchStrategy[Any]:
        if hint in self._fixed:
            return st.just(self._fixed[hint])
        simple: dict[Any, st.SearchStrategy[Any]] = {
            str: texts() | st.sampled_from(["m-1", "ehr", "a-1", "fixture", "0" * 64]),
            bytes: st.binary(max_size=20),
            bool: st.booleans(),
            int: st.sampled_from([n for n in NUMBERS if isinstance(n, int)]),
            float: st.sampled_from([*map(_as_float, NUMBERS), *NOT_FINITE]),
            datetime: st.sampled_from(TIMES),
            AwareDatetime: st.sampled_from(TIMES),
            timedelta: st.sampled_from(DURATIONS),
            UUID: st.sampled_from(IDS),
            NoneType: st.none(),
            Any: json_values(),
            Card: st.just(make_card("card", weights_sha256="1" * 64)),
            ReceivedBytes: st.just(self.received),
        }
        hint = getattr(hint, "__supertype__", hint)  # of a NewType
        if hint in simple:
            return simple[hint]
        if hint is Path:
            return self.places.map(Path)
        if isinstance(hint, type) and issubclass(hint, Enum):
            return st.sampled_from(list(hint))
        made = {
            Period,
            Anchor,
            IncomingMessage,
            IncomingAttachment,
            HeldRequest,
            Origin,
            Found,
            Events,
            Place,
            SamplingRule,
            Scenario,
        }
        if hint in made:
            fields = get_type_hints(hint)
            return st.builds(hint, **{n: self._right(fields[n]) | values() for n in inspect.signature(hint).parameters})
        if get_origin(hint) in {Union, UnionType}:
            return st.one_of(*map(self._right, get_args(hint)))
        if get_origin(hint) is Sequence:
            return st.lists(self._right(get_args(hint)[0]), max_size=3)
        if get_origin(hint) is tuple:
            return st.tuples(*map(self._right, get_args(hint)))
        if get_origin(hint) is Mapping:
            keys, inner = get_args(hint)
            return st.dictionaries(self._right(keys), self._right(inner), max_size=3)
        raise AssertionError(f"no arguments for {hint}")


def _as_float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return 1e308


@pytest.fixture
def received() -> Iterator[ReceivedBytes]:
    with ReceivedBytes(keep=10) as received:
        yield received


@pytest.fixture
def arguments(
    services: WorkerServices,
    live_model: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    received: ReceivedBytes,
) -> Arguments:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    received.write(b"no photo")
    photo = IncomingAttachment(data=b"no photo", external_id=PATIENT)
    services.intake.enqueue([IncomingMessage("other", PATIENT, [photo], thread=PATIENT)])
    services.intake.enqueue([IncomingMessage("ehr", "m-1", [IncomingAttachment(data=b"no photo")])])
    return Arguments(services, folder, received)


def check(call: Callable[[], object]) -> None:
    """The contract of all use cases."""
    error = _error_of(call)
    assert not isinstance(error, DefectError)
    assert str(error).isprintable()
    assert not [leak for leak in LEAKS for text in _shown(error) if leak in text]


def _error_of(call: Callable[[], object]) -> TriageError | None:
    try:
        result = call()
        if isinstance(result, Iterator):
            list(result)
        if isinstance(result, ReceivedBytes):
            result.close()
    except TriageError as error:
        return error
    return None


def _shown(error: BaseException | None) -> Iterator[str]:
    """The texts that a traceback of the error shows: its own, and those of its causes."""
    while error is not None:
        yield str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@pytest.mark.parametrize("use_case", USE_CASES, ids=str)
def test_every_use_case_keeps_the_error_contract_when_its_arguments_are_hostile(
    use_case: Declared, arguments: Arguments
) -> None:
    @settings(suppress_health_check=list(HealthCheck), max_examples=settings().max_examples // 4)
    @given(drawn=arguments.of(use_case))
    def fuzz(drawn: dict[str, Any]) -> None:
        check(lambda: use_case.function(**drawn))

    fuzz()


def test_enqueue_message_keeps_the_error_contract_when_its_arguments_are_hostile(
    arguments: Arguments, services: WorkerServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_services", lambda: services)
    one_wrong = st.dictionaries(
        st.sampled_from(["source", "message_id", "attachments", "thread", "role", "locale", "opted_out"]),
        values(),
        min_size=1,
        max_size=2,
    )

    @settings(suppress_health_check=list(HealthCheck))
    @given(wrong=one_wrong)
    def fuzz(wrong: dict[str, Any]) -> None:
        right: dict[str, Any] = {
            "source": "ehr",
            "message_id": "m-2",
            "attachments": [IncomingAttachment(data=b"photo")],
        }
        check(lambda: client.enqueue_message(**right | wrong))

    fuzz()


def submissions() -> st.SearchStrategy[object]:
    """Documents of the task `inbox.submit`, most of them with a few wrong fields."""
    photo = st.fixed_dictionaries(
        {"uri": texts()}, optional={"attachment_id": texts(), "group": texts() | st.none(), "media_type": texts()}
    )
    message = st.fixed_dictionaries(
        {
            "source": st.just("ehr") | texts(),
            "message_id": st.just("m-3") | texts(),
            "attachments": st.lists(photo | json_values(), max_size=3),
        },
        optional={"thread": texts(), "role": texts(), "locale": texts(), "opted_out": st.booleans() | json_values()},
    )
    extra = st.dictionaries(texts(), json_values(), max_size=2)
    return st.builds(lambda a, b: b | a, message, extra) | message | json_values()


def test_submission_is_answered_when_it_is_hostile(arguments: Arguments, services: WorkerServices) -> None:
    submit = services.celery.tasks["inbox.submit"]

    @settings(suppress_health_check=list(HealthCheck))
    @given(document=submissions())
    def fuzz(document: object) -> None:
        answer = submit(document)
        assert ("error" in answer) == ("message_id" not in answer)
        if "error" in answer:
            assert answer["error"]["code"] == "invalid"
            assert answer["error"]["message"].isprintable()
            assert len(answer["error"]["message"]) < 2000
            assert not [leak for leak in LEAKS if leak in answer["error"]["message"]]

    try:
        fuzz()
    finally:
        services_of(services.celery).close()


CALLS: Final[Mapping[str, dict[str, Any]]] = {
    "retakes.claim": {"by": "ehr", "limit": 3, "lease_seconds": 60, "source": "ehr"},
    "retakes.acknowledge": {"by": "ehr", "requests": [{"id": str(new_id()), "token": str(new_id())}]},
    "retakes.withdraw": {"by": "ehr", "id": str(new_id())},
    "threads.opt_out": {"source": "ehr", "thread": "t-1", "by": "ehr"},
    "decisions.list": {"after": "0", "limit": 3},
}


@pytest.mark.parametrize("name", CALLS)
def test_call_of_a_sender_is_answered_when_it_is_hostile(
    name: str, arguments: Arguments, services: WorkerServices
) -> None:
    task, right = services.celery.tasks[name], CALLS[name]
    wrong = st.dictionaries(st.sampled_from(list(right)) | texts(), json_values() | texts(), max_size=2)

    @settings(suppress_health_check=list(HealthCheck), max_examples=settings().max_examples // 2)
    @given(document=st.builds(lambda changes: right | changes, wrong) | json_values())
    def fuzz(document: object) -> None:
        answer = task(document)
        if "error" in answer:
            assert answer["error"]["code"] == "invalid"
            assert answer["error"]["message"].isprintable()
            assert len(answer["error"]["message"]) < 2000
            assert not [leak for leak in LEAKS if leak in answer["error"]["message"]]

    try:
        fuzz()
        assert "error" not in task(right) or name == "retakes.withdraw"
    finally:
        services_of(services.celery).close()


def test_no_other_task_takes_arguments(services: WorkerServices) -> None:
    """A task that takes arguments needs a test like those above."""
    takes = {
        name
        for name, task in services.celery.tasks.items()
        if not name.startswith("celery.") and list(inspect.signature(task.run).parameters) not in ([], ["self"])
    }
    assert takes == {"inbox.submit", *CALLS} == set(SENDER_TASKS)


def test_thresholds_are_refused_when_they_are_no_numbers(services: WorkerServices, live_model: object) -> None:
    with pytest.raises(UsageError, match="invalid change of the card"):
        services.registry.set_photo_count_thresholds("fixture", {2: float("nan")}, actor="a-1")


def test_defect_hides_the_statement_when_postgres_refuses_it(sessions: Sessions) -> None:
    insertion = text("INSERT INTO thread (id, source, external_id) VALUES (:id, 'ehr', :name)")

    @use_case
    def insert_twice(sessions: Sessions) -> None:
        with sessions.begin() as session:
            for _ in range(2):
                session.execute(insertion, {"id": new_id(), "name": PATIENT})

    with pytest.raises(DefectError) as raised:
        insert_twice(sessions)

    assert not [leak for leak in LEAKS for shown in _shown(raised.value) if leak in shown]
