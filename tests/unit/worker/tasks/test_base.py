import pytest
from celery import Celery, current_app
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from triage.errors import BlobStoreUnavailableError, ModelError
from worker.app import create_app
from worker.settings import Settings
from worker.tasks.base import WorkerTask, services_of


@pytest.fixture
def app() -> Celery:
    return create_app(Settings())


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (OperationalError("SELECT 1", {}, Exception("no server")), "DatabaseUnavailableError"),
        (BlobStoreUnavailableError("the blob store does not respond: retry"), "BlobStoreUnavailableError"),
    ],
)
def test_task_ends_with_one_warning_when_a_service_is_unavailable(app: Celery, error: Exception, logged: str) -> None:
    def fail() -> None:
        raise error

    task = app.task(fail, name="test.fail", base=WorkerTask, shared=False)

    with capture_logs() as logs:
        assert task() is None

    assert logs == [{"event": "service.unavailable", "log_level": "warning", "task": "test.fail", "error_type": logged}]


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
