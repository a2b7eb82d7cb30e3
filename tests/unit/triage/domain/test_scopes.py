import pytest

from triage.domain.scopes import Scope, known_scopes, scope_names

CREATE, UPDATE, READ = Scope.FHIR_CREATE, Scope.FHIR_UPDATE, Scope.FHIR_READ


@pytest.mark.parametrize(
    ("name", "scopes"),
    [
        ("system/Communication.c", {CREATE}),
        ("system/Communication.u", {UPDATE}),
        ("system/Communication.rs", {READ}),
        ("system/Communication.cruds", {CREATE, UPDATE, READ}),
        ("system/*.cu", {CREATE, UPDATE}),
        ("system/Communication.read", {READ}),
        ("system/Communication.write", {CREATE, UPDATE}),
        ("system/Communication.*", {CREATE, UPDATE, READ}),
        ("fhir.create", {CREATE}),
        ("system/Communication.d", set()),
        ("system/Communication.uc", set()),
        ("system/Communication.", set()),
        ("system/Observation.cruds", set()),
        ("user/Communication.cruds", set()),
        ("patient/Communication.write", set()),
        ("system/Communication.cruds?status=completed", set()),
    ],
)
def test_scope_of_smart_is_a_name_of_own_scopes(name: str, scopes: set[Scope]) -> None:
    assert known_scopes([name, "openid"]) == scopes


def test_granted_scopes_are_named_in_both_ways() -> None:
    assert scope_names({READ, CREATE, Scope.MESSAGES_READ}) == [
        "fhir.create",
        "fhir.read",
        "messages.read",
        "system/Communication.cr",
    ]
    assert scope_names({Scope.MESSAGES_READ}) == ["messages.read"]
