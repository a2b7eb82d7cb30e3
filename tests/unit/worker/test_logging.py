import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from worker.logging import configure_logging

PATIENT = "Erika-Mustermann-1970"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """The stream of the logs. The logging of the test process is restored afterwards."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging("INFO", "json", stream)
    yield stream
    root.handlers[:], root.level = before
    logging.captureWarnings(False)
    structlog.reset_defaults()


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_event_is_one_json_line_with_its_ids(stream: io.StringIO) -> None:
    structlog.get_logger("worker.x").info("inbox.drained", batches=2, duration_ms=31)

    [line] = _lines(stream)
    assert (line["event"], line["level"], line["batches"], line["duration_ms"]) == ("inbox.drained", "info", 2, 31)
    assert line["timestamp"].endswith("Z")


def test_field_outside_the_allow_list_is_dropped(stream: io.StringIO) -> None:
    structlog.get_logger("worker.x").warning("photo.unreadable", file_name=PATIENT, uri=f"s3://{PATIENT}", photos=1)

    assert PATIENT not in stream.getvalue()
    assert _lines(stream)[0]["photos"] == 1


def test_exception_is_logged_as_type_and_location_without_its_text(stream: io.StringIO) -> None:
    try:
        raise ValueError(f"cannot open {PATIENT}.jpg")
    except ValueError:
        structlog.get_logger("worker.x").error("drain.failed", exc_info=True)
        logging.getLogger("celery").exception("Task raised")

    assert PATIENT not in stream.getvalue()
    for line in _lines(stream):
        assert line["error_type"] == "builtins.ValueError"
        assert "test_logging.py" in line["where"][-1]


def test_message_of_another_library_is_logged_as_its_place_without_its_text(stream: io.StringIO) -> None:
    logging.getLogger("botocore").warning("cannot read %s of %d bytes", f"/in/{PATIENT}.jpg", 3)
    logging.getLogger("pydicom").warning("cannot read " + PATIENT)  # noqa: G003  # as libraries do

    assert PATIENT not in stream.getvalue()
    for line, library in zip(_lines(stream), ("botocore", "pydicom"), strict=True):
        assert (line["event"], line["logger"]) == ("library.logged", library)
        assert line["where"][0].startswith("worker/test_logging.py:")


def test_event_of_another_library_is_named_by_the_process(stream: io.StringIO) -> None:
    configure_logging(
        "INFO", "json", stream, translate=lambda _: ("redis.unavailable", {"kind": "tls", "uri": PATIENT})
    )

    logging.getLogger("celery").error("cannot connect to %s", PATIENT)

    [line] = _lines(stream)
    assert (line["event"], line["kind"]) == ("redis.unavailable", "tls")
    assert PATIENT not in stream.getvalue()


def test_object_of_another_library_is_not_logged(stream: io.StringIO) -> None:
    logging.getLogger("pydicom").warning({"PatientName": PATIENT})
    logging.getLogger("pydicom").warning(ValueError(PATIENT))

    assert PATIENT not in stream.getvalue()


def test_text_of_a_python_warning_is_not_logged(stream: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)  # a test before may have set it, and pytest has undone its effect
        logging.captureWarnings(True)
        warnings.warn(f"odd EXIF in {PATIENT}.jpg", stacklevel=1)

    [line] = _lines(stream)
    assert (line["event"], line["error_type"]) == ("warning.raised", "UserWarning")
    assert line["where"][0].startswith("worker/test_logging.py:")
    assert PATIENT not in stream.getvalue()


def test_info_messages_of_other_libraries_are_not_logged(stream: io.StringIO) -> None:
    logging.getLogger("urllib3").info("connection made")
    structlog.get_logger("worker.x").debug("detail.seen")

    assert stream.getvalue() == ""
