"""Any value of any variable is accepted, or refused in one line that names the variable and omits the value."""

import os
from collections.abc import Iterator

import annotated_types
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tests.support.hostile import SECRET, process_texts
from triage.errors import UsageError
from worker.settings import Settings, load_settings

pytestmark = pytest.mark.long


def fields() -> Iterator[tuple[str, FieldInfo]]:
    """Every variable, and every group as if it were one."""
    for name, field in Settings.model_fields.items():
        yield f"TRIAGE_{name}".upper(), field
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            for inner, inner_field in field.annotation.model_fields.items():
                yield f"TRIAGE_{name}__{inner}".upper(), inner_field


@pytest.mark.parametrize("variable", [name for name, _ in fields()])
def test_malformed_value_is_refused_without_showing_it(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("TRIAGE_"):
            monkeypatch.delenv(name)
    malformed = process_texts() | st.sampled_from(["[]", "[1]", '["a", {}]', "{}", "null", '{"a": "b"}', "1" * 400])

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(value=malformed, is_marked=st.booleans())
    def check(value: str, is_marked: bool) -> None:
        monkeypatch.setenv(variable, f"{value}{SECRET}" if is_marked else value)
        error = _refusal()
        if error is not None:
            line = str(error)
            group = variable.rpartition("__")[0]  # some variables must be set together
            assert line.startswith((f"invalid settings: {variable}: ", f"invalid settings: {group}: set "))
            assert line.isprintable()
            assert SECRET not in line
            assert not (len(value) > 20 and value in line)
            assert "\n" not in line
            assert error.__suppress_context__ or error.__context__ is None  # a traceback would show the value

    check()


def _refusal() -> UsageError | None:
    try:
        load_settings()
    except UsageError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("TRIAGE_INBOX", "x", "TRIAGE_INBOX: unknown setting: set those of its group, such as TRIAGE_INBOX__"),
        ("TRIAGE_HOME", "", "TRIAGE_HOME: the value is empty: set a value"),
        ("TRIAGE_INTAKE__LOCAL_NETWORKS", '["10.0.0.1/8"]', "TRIAGE_INTAKE__LOCAL_NETWORKS: use networks such as"),
        ("TRIAGE_INTAKE__LOCAL_NETWORKS", "10.0.0.0/8", "TRIAGE_INTAKE__LOCAL_NETWORKS: use a JSON list"),
        ("TRIAGE_REDIS__URL", "redis://cache:port/0", "TRIAGE_REDIS__URL: the URL has a malformed host or port"),
    ],
)
def test_problem_of_a_variable_is_described(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(UsageError) as raised:
        load_settings()

    assert str(raised.value).startswith(f"invalid settings: {says}")


def test_every_number_has_both_bounds() -> None:
    unbounded = []
    for name, field in fields():
        if field.annotation in {int, float, int | None, float | None}:
            low = any(isinstance(each, annotated_types.Ge | annotated_types.Gt) for each in field.metadata)
            high = any(isinstance(each, annotated_types.Le | annotated_types.Lt) for each in field.metadata)
            unbounded += [] if low and high else [name]
    assert not unbounded
