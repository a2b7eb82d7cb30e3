import pytest
import structlog
from celery import Celery, current_app
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from triage.errors import BlobStoreUnavailableError, ModelError
from worker.app import create_app
from worker.settings import Settings
from worker.tasks import base
from worker.tasks.base import WorkerTask, services_of


@pytest.fixture
def app() -> Celery:
    return create_app(Settings())


@pytest.mark.parametrize(
    ("error", "logged", "kind"),
    [
        (OperationalError("SELECT 1", {}, Exception("server closed")), "DatabaseUnavailableError", "disconnected"),
        (
            OperationalError(None, None, Exception('database "x" does not exist')),
            "DatabaseRefusedError",
            "unknown_database",
        ),
        (
            BlobStoreUnavailableError("the blob store does not respond: retry"),
            "BlobStoreUnavailableError",
            "unreachable",
        ),
    ],
)
def test_task_ends_with_one_warning_when_a_service_is_unavailable(
    app: Celery, error: Exception, logged: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(base, "log", structlog.get_logger())  # another test may have configured the old one
    task = app.task(fail, name="test.fail", base=WorkerTask, shared=False)

    with capture_logs() as logs:
        assert task() is None

    [line] = logs
    assert (line["event"], line["log_level"], line["task"]) == ("service.unavailable", "warning", "test.fail")
    assert (line["error_type"], line["kind"]) == (logged, kind)


def test_other_errors_of_a_task_are_raised(app: Celery) -> None:
    def fail() -> None:
        raise ModelError("the weights are damaged: add the model again")

    with pytest.raises(ModelError):
        app.task(fail, name="test.fail", base=WorkerTask, shared=False)()


def test_tasks_share_the_services_and_the_app_of_their_process(app: Celery) -> None:
    def succeed() -> None:
        pass

    first, second = (app.task(succeed, name=f"test.{number}", base=WorkerTask, shared=False) for number in range(2))

    app.set_current()

    assert first.services is second.services is services_of(app)
    assert services_of(current_app) is services_of(app)  # the hooks of a child process use Celery's proxy
    assert first.services.celery is app
