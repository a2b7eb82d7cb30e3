from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from triage.domain.card import UNTRAINED, Card, read_card
from triage.errors import ModelError
from triage.model.artifact import read_artifact, write_artifact
from triage.model.network import OrdinalVGG16, draw_network
from triage.model.weights import load_network, weights_of


@pytest.fixture(scope="module")
def network() -> OrdinalVGG16:
    return draw_network(seed=1)


@pytest.fixture(scope="module")
def weights(network: OrdinalVGG16) -> bytes:
    return weights_of(network)


@pytest.fixture
def make_card() -> Callable[..., Card]:
    def make(**fields: object) -> Card:
        given = {
            "name": "first",
            "trained": True,
            "threshold": 0.5,
            "threshold_chosen_by": "fixture",
            "created_at": datetime.now(UTC),
        }
        return Card.model_validate(given | fields)

    return make


def test_artifact_comes_back_as_it_was(
    tmp_path: Path, network: OrdinalVGG16, weights: bytes, make_card: Callable[..., Card]
) -> None:
    written = write_artifact(tmp_path / "model", make_card(metrics={"auc": 0.885}), weights)

    card, found = read_artifact(tmp_path / "model")
    loaded = load_network(card, found)

    assert card == written
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["card.json", "weights.safetensors"]
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_altered_weights_are_refused(tmp_path: Path, weights: bytes, make_card: Callable[..., Card]) -> None:
    write_artifact(tmp_path, make_card(), weights)
    (tmp_path / "weights.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))

    with pytest.raises(ModelError, match="SHA-256"):
        read_artifact(tmp_path)


@pytest.mark.parametrize("missing", ["card.json", "weights.safetensors"])
def test_missing_file_is_named(tmp_path: Path, weights: bytes, make_card: Callable[..., Card], missing: str) -> None:
    write_artifact(tmp_path, make_card(), weights)
    (tmp_path / missing).unlink()

    with pytest.raises(ModelError, match=missing):
        read_artifact(tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"{}", "name"),
        (b"not json", "card"),
        (b'{"pickle": "cos\\nsystem"}', "pickle"),
    ],
)
def test_malformed_card_names_its_fields(text: bytes, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        read_card(text)


def test_model_of_another_preprocessing_is_refused(make_card: Callable[..., Card]) -> None:
    card = make_card(preprocessing="five-crops-224/1")

    with pytest.raises(ModelError, match="five-crops-224/1"):
        read_card(card.model_dump_json())


def test_good_votes_must_be_among_the_outputs(make_card: Callable[..., Card]) -> None:
    with pytest.raises(ValueError, match="good_votes"):
        make_card(n_outputs=3, good_votes=4)


def test_label_is_untrained_whatever_the_name(make_card: Callable[..., Card]) -> None:
    assert make_card(name="looks-fine", trained=False).label == UNTRAINED
    assert make_card(name="looks-fine").label == "looks-fine"


def test_half_precision_is_loaded_as_single(
    tmp_path: Path, network: OrdinalVGG16, make_card: Callable[..., Card]
) -> None:
    halves = {name: tensor.half() for name, tensor in network.state_dict().items()}
    write_artifact(tmp_path, make_card(), save(halves))

    loaded = load_network(*read_artifact(tmp_path))

    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32}


def test_weights_of_another_network_are_refused(tmp_path: Path, make_card: Callable[..., Card]) -> None:
    write_artifact(tmp_path, make_card(), save({"features.0.weight": torch.zeros(64, 3, 3, 3)}))

    with pytest.raises(ModelError, match="do not fit"):
        load_network(*read_artifact(tmp_path))


def test_biases_that_rise_are_refused(tmp_path: Path, network: OrdinalVGG16, make_card: Callable[..., Card]) -> None:
    tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    tensors["head.bias"] = torch.tensor([0.0, 1.0, -1.0, -2.0])
    write_artifact(tmp_path, make_card(), save(tensors))

    with pytest.raises(ModelError, match="could cross"):
        load_network(*read_artifact(tmp_path))
