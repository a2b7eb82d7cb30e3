import threading

import pytest

from triage.deadline import SoleCall


def test_function_is_called_once_at_a_time_when_it_hangs() -> None:
    released, calls = threading.Event(), []

    def hang() -> int:
        calls.append(threading.current_thread())
        released.wait()
        return len(calls)

    sole = SoleCall(hang)
    first = sole.start()
    assert sole.start() is first
    assert sole.start() is first
    assert not first.done()
    released.set()

    assert first.result() == 1
    assert sole.start().result() == 2
    assert all(thread.daemon for thread in calls)


def test_function_is_called_again_when_its_thread_could_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    sole = SoleCall(lambda: 1)
    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            sole.start()

    assert sole.start().result(timeout=30) == 1


def test_error_of_the_function_is_that_of_its_call() -> None:
    def fail() -> None:
        raise OSError("away")

    sole = SoleCall(fail)

    for _ in range(2):
        with pytest.raises(OSError, match="away"):
            sole.start().result()
