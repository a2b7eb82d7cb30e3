import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from tests.support.narrow_model import NARROW, add_reasons, draw_narrow_network, make_narrow_model, write_narrow_model
from triage.domain.architecture import VGG16, VGG16_LAYERS, Layers
from triage.domain.card import UNTRAINED, Recalibration, read_card
from triage.domain.states import FindingKind
from triage.errors import ModelError
from triage.model.artifact import bind_card, read_artifact, write_artifact
from triage.model.engines.tolerance import draw_pictures
from triage.model.network import OrdinalVGG16, draw_network
from triage.model.weights import load_network


@pytest.fixture(scope="module")
def network() -> OrdinalVGG16:
    return draw_narrow_network()


@pytest.mark.parametrize("layers", [VGG16_LAYERS, NARROW])
def test_artifact_reads_back_the_same(tmp_path: Path, layers: Layers) -> None:
    network = draw_network(seed=1, layers=layers)
    written = write_narrow_model(tmp_path / "model", network, metrics={"auc": 0.885})

    card, weights = read_artifact(tmp_path / "model")
    loaded = load_network(card, weights)

    assert card == written
    assert card.architecture == network.architecture
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["card.json", "weights.safetensors"]
    assert loaded.state_dict().keys() == network.state_dict().keys()
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_reason_head_is_read_back_with_its_layer(tmp_path: Path) -> None:
    network = draw_narrow_network()
    head = add_reasons(network, FindingKind.MOTION, FindingKind.DEFOCUS)
    write_narrow_model(tmp_path / "model", network, reasons=head)

    card, weights = read_artifact(tmp_path / "model")
    loaded = load_network(card, weights)

    assert card.reasons == head
    assert list(card.reasons.reasons) == [FindingKind.MOTION, FindingKind.DEFOCUS]
    assert torch.equal(loaded(draw_pictures()), network(draw_pictures()))


def test_model_is_refused_when_the_card_has_another_number_of_reasons() -> None:
    network = draw_narrow_network()
    head = add_reasons(network, FindingKind.MOTION, FindingKind.DEFOCUS)
    fewer = head.model_copy(update={"reasons": {FindingKind.MOTION: head.reasons[FindingKind.MOTION]}})

    for reasons in (fewer, None):
        with pytest.raises(ModelError, match="do not fit"):
            load_network(*make_narrow_model(network, reasons=reasons))


def test_model_is_refused_when_its_weights_are_altered(tmp_path: Path) -> None:
    write_narrow_model(tmp_path)
    weights = (tmp_path / "weights.safetensors").read_bytes()
    (tmp_path / "weights.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))

    with pytest.raises(ModelError, match="SHA-256"):
        read_artifact(tmp_path)


def test_model_is_refused_when_its_reasons_need_an_unknown_measure(tmp_path: Path) -> None:
    network = draw_narrow_network()
    head = add_reasons(network, FindingKind.DEFOCUS)
    card, weights = make_narrow_model(network, reasons=head)
    write_artifact(tmp_path, card, weights)
    assert read_artifact(tmp_path)[0].reasons == head
    unknown = head.model_copy(update={"limits": {**head.limits, "of_tomorrow": (0, 1)}})
    write_artifact(tmp_path, card.model_copy(update={"reasons": unknown}), weights)

    with pytest.raises(ModelError, match="need 'of_tomorrow', which"):
        read_artifact(tmp_path)


@pytest.mark.parametrize("missing", ["card.json", "weights.safetensors"])
def test_error_names_the_file_that_is_missing(tmp_path: Path, missing: str) -> None:
    write_narrow_model(tmp_path)
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
def test_error_names_the_invalid_fields_of_a_card(text: bytes, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        read_card(text)


def test_card_is_refused_when_it_asks_for_another_preprocessing() -> None:
    card, _ = make_narrow_model(preprocessing="five-crops-224/1")

    with pytest.raises(ModelError, match="five-crops-224/1"):
        read_card(card.model_dump_json())


def test_card_is_refused_when_it_names_another_network() -> None:
    card, _ = make_narrow_model()
    text = card.model_dump_json().replace(card.architecture, "resnet50")

    with pytest.raises(ModelError, match="architecture: unknown network 'resnet50'"):
        read_card(text)


def test_card_is_refused_when_good_votes_exceed_the_outputs() -> None:
    with pytest.raises(ValueError, match="good_votes"):
        make_narrow_model(draw_narrow_network(n_outputs=3), good_votes=4)


def test_card_of_an_earlier_release_is_read_with_its_intercept_for_each_output() -> None:
    card, _ = make_narrow_model()
    fields = json.loads(card.model_dump_json()) | {"recalibration": {"slope": 1.7, "intercept": -0.02}}

    read = read_card(json.dumps(fields))

    assert read.recalibration == Recalibration(slope=1.7, intercepts=(-0.02,) * 4)
    assert read_card(read.model_dump_json()) == read


@pytest.mark.parametrize(
    ("recalibration", "says"),
    [
        ({"slope": 1, "intercepts": [0, 0.1, 0, 0]}, "the intercepts rise"),
        ({"slope": 1, "intercepts": [0, 0]}, "one intercept for each"),
        ({"slope": 0, "intercepts": [0, 0, 0, 0]}, "greater than 0"),
    ],
)
def test_card_is_refused_when_its_recalibration_lets_probabilities_cross(
    recalibration: dict[str, Any], says: str
) -> None:
    fields = json.loads(make_narrow_model()[0].model_dump_json()) | {"recalibration": recalibration}

    with pytest.raises(ModelError, match=says):
        read_card(json.dumps(fields))


def test_label_is_untrained_whatever_the_name() -> None:
    assert make_narrow_model(name="looks-fine", trained=False)[0].label == UNTRAINED
    assert make_narrow_model(name="looks-fine")[0].label == "looks-fine"


def test_half_precision_is_loaded_as_single(network: OrdinalVGG16) -> None:
    halves = save({name: tensor.half() for name, tensor in network.state_dict().items()})

    loaded = load_network(bind_card(make_narrow_model()[0], halves), halves)

    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("tensors", [{"features.0.weight": torch.zeros(64, 3, 3, 3)}, {}])
def test_weights_are_refused_when_they_are_incomplete(tensors: dict[str, Tensor]) -> None:
    weights = save(tensors)
    card = bind_card(make_narrow_model(architecture=VGG16)[0], weights)

    with pytest.raises(ModelError, match="do not fit vgg16-five-patch"):
        load_network(card, weights)


@pytest.mark.parametrize("architecture", [VGG16, "vgg-4-8-8-8-16-five-patch", "vgg-4.4-8-8-8-8-five-patch"])
def test_weights_are_refused_when_they_are_of_another_network_than_the_card_says(
    network: OrdinalVGG16, architecture: str
) -> None:
    card, weights = make_narrow_model(network, architecture=architecture)

    with pytest.raises(ModelError, match=f"do not fit {architecture}"):
        load_network(card, weights)


def test_weights_are_refused_when_the_biases_rise(network: OrdinalVGG16) -> None:
    tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    tensors["head.bias"] = torch.tensor([0.0, 1.0, -1.0, -2.0])
    weights = save(tensors)

    with pytest.raises(ModelError, match="could cross"):
        load_network(bind_card(make_narrow_model()[0], weights), weights)
