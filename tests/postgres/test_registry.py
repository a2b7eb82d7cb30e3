import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from tests.support.cards import EVALUATED, make_card
from triage.blobs.store import BlobStore
from triage.domain.states import Stage
from triage.errors import (
    ModelError,
    ModelNameTakenError,
    ModelNotEvaluatedError,
    ModelStoreUnavailableError,
    TrainingPhotosError,
    UsageError,
)
from triage.model.artifact import WEIGHTS_FILE, bind_card, read_artifact, write_artifact
from triage.model.starter import STARTER_FOLDER
from triage.registry import Registry
from triage.storage import model_versions as models
from triage.storage.database import Sessions
from triage.storage.tables import ModelVersion


@pytest.fixture
def registry(sessions: Sessions, tmp_path: Path) -> Registry:
    return Registry(sessions, BlobStore(str(tmp_path / "store")))


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes an artifact whose weights are its name: the registry never looks into them."""

    def make(name: str, *, trained: bool = True, evaluated: bool = True) -> Path:
        card = make_card(name, trained=trained, metrics=EVALUATED if evaluated else {})
        write_artifact(tmp_path / name, card, name.encode())
        return tmp_path / name

    return make


@pytest.fixture
def three_models(registry: Registry, make_model: Callable[..., Path]) -> Registry:
    """A registry with the candidates `a`, `b` and `c`."""
    for name in "abc":
        registry.add_folder(make_model(name), actor="test")
    return registry


def test_reasons_keep_the_order_of_the_network_s_outputs_when_a_card_is_stored(registry: Registry) -> None:
    card, _ = read_artifact(STARTER_FOLDER)
    stored = registry.add_folder(STARTER_FOLDER, actor="test").card
    assert card.reasons is not None
    assert stored.reasons is not None
    assert list(stored.reasons.reasons) == list(card.reasons.reasons)
    assert stored == card


def _stages(sessions: Sessions) -> dict[str, Stage]:
    with sessions() as session:
        return {row.name: Stage(row.stage) for row in session.scalars(select(ModelVersion))}


def _audit(sessions: Sessions) -> list[tuple[str, str]]:
    with sessions() as session:
        rows = session.execute(text("SELECT actor, action FROM audit_event ORDER BY id"))
        return [(row.actor, row.action) for row in rows]


def test_model_is_a_candidate_with_its_weights_in_the_store_when_added(
    registry: Registry, make_model: Callable[..., Path], sessions: Sessions
) -> None:
    model = registry.add_folder(make_model("a"), actor="scientist-1")

    assert model.stage is Stage.CANDIDATE
    assert registry.weights(model.card) == b"a"
    assert _audit(sessions) == [("scientist-1", "model.added")]


def test_new_model_is_refused_when_the_store_lost_its_models(
    three_models: Registry, make_model: Callable[..., Path], sessions: Sessions, tmp_path: Path
) -> None:
    """As when its volume is not mounted: the weights would lie below the mount point."""
    store = tmp_path / "store"
    store.rename(tmp_path / "volume")
    store.mkdir()

    with pytest.raises(ModelStoreUnavailableError, match="mount its volume"):
        three_models.add_folder(make_model("d"), actor="test")
    assert (list(store.iterdir()), set(_stages(sessions))) == ([], {"a", "b", "c"})

    three_models.add_folder(tmp_path / "a", actor="test")
    three_models.add_folder(tmp_path / "d", actor="test")
    assert set(_stages(sessions)) == {"a", "b", "c", "d"}


def test_model_store_is_unavailable_when_it_cannot_be_written(
    sessions: Sessions, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "store").write_bytes(b"")

    with pytest.raises(ModelStoreUnavailableError, match="free space"):
        Registry(sessions, BlobStore(str(tmp_path / "store"))).add_folder(make_model("a"), actor="test")
    assert _stages(sessions) == {}


def test_model_is_registered_once_when_added_twice(
    registry: Registry, make_model: Callable[..., Path], sessions: Sessions
) -> None:
    first, again = (registry.add_folder(make_model("a"), actor="test") for _ in range(2))

    assert first.id == again.id
    assert _stages(sessions) == {"a": Stage.CANDIDATE}
    assert _audit(sessions) == [("test", "model.added")]


def test_name_is_taken_unless_a_new_version_is_asked_for(
    registry: Registry, make_model: Callable[..., Path], sessions: Sessions, tmp_path: Path
) -> None:
    registry.add_folder(make_model("a"), actor="test")
    later = make_model("a")
    write_artifact(later, read_artifact(later)[0], b"other weights")

    with pytest.raises(ModelNameTakenError, match="model a@1 is registered"):
        registry.add_folder(later, actor="test")
    assert len(list((tmp_path / "store").rglob("????????" * 8))) == 1  # no weights are left behind
    second = registry.add_folder(later, actor="test", new_version=True)

    assert second.reference == "a@2"
    assert registry.load("a@1")[1] == b"a"
    assert registry.load("a@2")[1] == registry.load(second.card.weights_sha256[:8])[1] == b"other weights"
    for name, says in (
        ("a", "choose one of a@2, a@1"),
        ("a@3", "no version 3, but a@2, a@1"),
        ("a@0", "no model"),
        ("a@", "no model"),
    ):
        with pytest.raises(UsageError, match=says):
            registry.load(name)
    assert registry.add_folder(later, actor="test").id == second.id


def test_versions_are_numbered_when_several_are_added_at_once(
    registry: Registry, make_model: Callable[..., Path], sessions: Sessions
) -> None:
    card = read_artifact(make_model("a"))[0]

    def add(number: int) -> str:
        weights = f"weights {number}".encode()
        return registry.add(bind_card(card, weights), weights, actor="test", new_version=True).reference

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(add, range(4))) == ["a@1", "a@2", "a@3", "a@4"]


def test_same_weights_are_refused_under_another_name(
    registry: Registry, make_model: Callable[..., Path], sessions: Sessions
) -> None:
    registry.add_folder(make_model("a"), actor="test")
    folder = make_model("b")
    card = read_artifact(folder)[0]
    write_artifact(folder, card, b"a")

    with pytest.raises(UsageError, match="registered already, as model 'a'"):
        registry.add_folder(folder, actor="test")
    assert _audit(sessions) == [("test", "model.added")]


def test_model_is_refused_when_its_weights_do_not_match_its_card(
    registry: Registry, make_model: Callable[..., Path], sessions: Sessions, tmp_path: Path
) -> None:
    folder = make_model("a")
    (folder / WEIGHTS_FILE).write_bytes(b"b")

    with pytest.raises(ModelError, match="SHA-256") as raised:
        registry.add_folder(folder, actor="test")

    assert len(str(raised.value).splitlines()) == 1
    assert _stages(sessions) == {}
    assert _audit(sessions) == []
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"other"), Path.unlink], ids=["changed", "gone"])
def test_error_is_raised_when_the_store_lost_the_weights(
    registry: Registry, make_model: Callable[..., Path], tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    card = registry.add_folder(make_model("a"), actor="test").card
    damage(tmp_path / "store" / card.weights_sha256[:2] / card.weights_sha256)

    with pytest.raises(ModelError, match="cannot be read from the model store"):
        registry.weights(card)


def test_untrained_model_is_promoted_only_when_allowed(
    registry: Registry, make_model: Callable[..., Path], sessions: Sessions
) -> None:
    registry.add_folder(make_model("random", trained=False), actor="test")

    with pytest.raises(UsageError, match="never trained"):
        registry.promote("random", actor="test")
    assert _stages(sessions) == {"random": Stage.CANDIDATE}
    assert _audit(sessions) == [("test", "model.added")]

    assert registry.promote("random", actor="test", allow_untrained=True).card.label == "untrained"
    assert _stages(sessions) == {"random": Stage.LIVE}


def test_evaluation_is_not_recorded_when_the_model_learned_from_its_photos(
    registry: Registry, make_model: Callable[..., Path], sessions: Sessions, tmp_path: Path
) -> None:
    registry.add_folder(make_model("a", evaluated=False), actor="test")

    with pytest.raises(TrainingPhotosError, match="choose other photos"):
        registry.record_evaluation("a", "test", {"n_good": 50, "n_bad": 50, "trained_on": 1}, actor="test")
    assert registry.load("a")[0].metrics == {}
    of_its_training = make_card("b", metrics={"test": {"n_good": 50, "n_bad": 50, "trained_on": 1}})
    write_artifact(tmp_path / "b", of_its_training, b"b")
    registry.add_folder(tmp_path / "b", actor="test")
    with pytest.raises(ModelNotEvaluatedError):
        registry.promote("b", actor="test")


def test_promotion_is_forced_by_a_reason_that_the_audit_trail_keeps(
    registry: Registry, make_model: Callable[..., Path], sessions: Sessions
) -> None:
    registry.add_folder(make_model("a", evaluated=False), actor="test")
    registry.add_folder(make_model("random", trained=False), actor="test")

    for reason in ("", " ", "two\nlines", "x" * 2001):
        with pytest.raises(UsageError, match="reason"):
            registry.promote("a", actor="test", force_reason=reason)
    with pytest.raises(UsageError, match="never trained"):
        registry.promote("random", actor="test", force_reason="a trial")
    assert set(_stages(sessions).values()) == {Stage.CANDIDATE}
    registry.promote("a", actor="op-1", force_reason=" evaluated on paper ")

    with sessions() as session:
        [reason] = session.scalars(text("SELECT details ->> 'reason' FROM audit_event WHERE action = 'model.promoted'"))
    assert reason == "evaluated on paper"


def test_trained_model_is_promoted_only_with_an_evaluation_on_its_card(
    registry: Registry, make_model: Callable[..., Path], sessions: Sessions
) -> None:
    registry.add_folder(make_model("a", evaluated=False), actor="test")

    with pytest.raises(UsageError, match="evaluate it and record"):
        registry.promote("a", actor="test")
    sufficient: dict[str, object] = {"n_good": 20, "n_bad": 20, "trained_on": 0}
    for name, evaluation in (
        ("train", sufficient),
        ("validation", sufficient),
        ("small", sufficient | {"n_bad": 19}),
        ("one-sided", sufficient | {"n_good": 0}),
        ("skin", {"n": 59}),
    ):
        registry.record_evaluation("a", name, evaluation, actor="test")
    with pytest.raises(UsageError, match="at least 20 good and 20 bad photos that it did not learn from"):
        registry.promote("a", actor="test")
    registry.record_evaluation("a", "test", sufficient, actor="scientist-1")

    assert registry.promote("a", actor="test").card.metrics["test"] == sufficient
    assert _stages(sessions) == {"a": Stage.LIVE}
    assert ("scientist-1", "model.evaluated") in _audit(sessions)


def test_shadow_model_can_be_promoted(three_models: Registry, sessions: Sessions) -> None:
    three_models.promote("a", actor="test")
    three_models.shadow("b", actor="scientist-1")
    with pytest.raises(UsageError, match="is live"):
        three_models.shadow("a", actor="test")

    assert _stages(sessions) == {"a": Stage.LIVE, "b": Stage.SHADOW, "c": Stage.CANDIDATE}
    assert _audit(sessions)[-1] == ("scientist-1", "model.shadowed")
    three_models.promote("b", actor="test")
    assert _stages(sessions) == {"a": Stage.RETIRED, "b": Stage.LIVE, "c": Stage.CANDIDATE}


def test_thresholds_by_photo_count_are_on_the_card(three_models: Registry, sessions: Sessions) -> None:
    three_models.set_photo_count_thresholds("a", {2: 0.6, 3: 0.7}, actor="scientist-1")

    with sessions() as session:
        card = models.find(session, "a").card
    assert card.thresholds_by_photo_count == {2: 0.6, 3: 0.7}
    assert card.weights_sha256 == hashlib.sha256(b"a").hexdigest()


def test_live_model_retires_when_another_is_promoted(three_models: Registry, sessions: Sessions) -> None:
    three_models.promote("a", actor="test")
    three_models.promote("b", actor="test")

    assert _stages(sessions) == {"a": Stage.RETIRED, "b": Stage.LIVE, "c": Stage.CANDIDATE}


def test_promotion_changes_nothing_when_the_model_is_live(three_models: Registry, sessions: Sessions) -> None:
    three_models.promote("a", actor="test")
    with sessions() as session:
        since = models.live_since(session)
    events = _audit(sessions)

    assert three_models.promote("a", actor="test").stage is Stage.LIVE

    with sessions() as session:
        assert models.live_since(session) == since
    assert _audit(sessions) == events


def test_one_model_is_live_when_many_are_promoted_at_once(three_models: Registry, sessions: Sessions) -> None:
    with ThreadPoolExecutor(6) as pool:
        promoted = list(pool.map(lambda name: three_models.promote(name, actor="test"), "abcabcabcabc"))

    assert {model.stage for model in promoted} == {Stage.LIVE}  # each was, for its moment
    assert sorted(_stages(sessions).values()) == [Stage.LIVE, Stage.RETIRED, Stage.RETIRED]


def test_database_refuses_a_second_live_model(three_models: Registry, sessions: Sessions) -> None:
    three_models.promote("a", actor="test")

    with pytest.raises(IntegrityError, match="uq_model_version__live"), sessions.begin() as session:
        session.execute(text("UPDATE model_version SET stage = 'live' WHERE name = 'b'"))


def test_rollback_returns_to_the_model_that_was_live_before(three_models: Registry, sessions: Sessions) -> None:
    for name in "abc":
        three_models.promote(name, actor="test")

    assert three_models.rollback(actor="operator-1").card.name == "b"
    assert _stages(sessions) == {"a": Stage.RETIRED, "b": Stage.LIVE, "c": Stage.RETIRED}
    assert _audit(sessions)[-1] == ("operator-1", "model.rolled_back")


def test_rollback_is_refused_when_no_model_was_live_before(three_models: Registry, sessions: Sessions) -> None:
    three_models.promote("a", actor="test")

    with pytest.raises(UsageError, match="no model was live before"):
        three_models.rollback(actor="test")
    assert _stages(sessions)["a"] is Stage.LIVE


def test_live_model_is_not_retired(three_models: Registry, sessions: Sessions) -> None:
    three_models.promote("a", actor="test")

    with pytest.raises(UsageError, match="promote another model instead"):
        three_models.retire("a", actor="test")
    assert three_models.retire("b", actor="test").stage is Stage.RETIRED
    assert _stages(sessions)["a"] is Stage.LIVE


def test_rollback_skips_models_that_were_never_live(three_models: Registry) -> None:
    three_models.promote("a", actor="test")
    three_models.promote("b", actor="test")
    three_models.retire("c", actor="test")

    assert three_models.rollback(actor="test").card.name == "a"


def test_model_is_found_by_the_start_of_its_hash(three_models: Registry) -> None:
    assert three_models.promote(hashlib.sha256(b"b").hexdigest()[:8], actor="test").card.name == "b"

    with pytest.raises(UsageError, match="list the registered models"):
        three_models.promote("d", actor="test")
