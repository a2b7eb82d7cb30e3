import hashlib
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import Tensor
from torchvision.models import VGG16_Weights

from tests.support.models import refuse_registered
from tests.support.narrow_model import draw_narrow_network, make_narrow_model, write_narrow_model
from triage.domain.card import Card
from triage.errors import ModelError, UsageError
from triage.model.coral import IndependentHead
from triage.model.network import OrdinalVGG16, draw_network
from triage.training.config import TrainingConfig
from triage.training.initial import initial_network


@pytest.fixture(scope="module")
def imagenet_format() -> dict[str, Tensor]:
    """Random weights under the names of torchvision's VGG16, its classifier in small."""
    convolutions = draw_network(seed=7).features.state_dict()
    return {f"features.{name}": weights for name, weights in convolutions.items()} | {
        "classifier.0.weight": torch.zeros(2, 2)
    }


def _has(network: OrdinalVGG16, weights: dict[str, Tensor]) -> bool:
    features = network.features.state_dict()
    return all(torch.equal(features[name], weights[f"features.{name}"]) for name in features)


def test_convolutions_are_those_of_the_file_and_the_head_is_new(
    tmp_path: Path, imagenet_format: dict[str, Tensor]
) -> None:
    path = tmp_path / "vgg16.pth"
    torch.save(imagenet_format, path)

    network, started_from = initial_network(str(path), TrainingConfig(n_reviewers=3), refuse_registered)

    assert started_from == "file"
    assert _has(network, imagenet_format)
    assert network.head.bias.shape == (3,)


def test_file_is_refused_when_its_hash_is_not_that_of_its_name(
    tmp_path: Path, imagenet_format: dict[str, Tensor]
) -> None:
    torch.save(imagenet_format, tmp_path / "plain.pth")
    digest = hashlib.sha256((tmp_path / "plain.pth").read_bytes()).hexdigest()
    right, wrong = tmp_path / f"vgg16-{digest[:8]}.pth", tmp_path / "vgg16-397923af.pth"
    for path in (right, wrong):
        path.write_bytes((tmp_path / "plain.pth").read_bytes())

    assert _has(initial_network(str(right), TrainingConfig(), refuse_registered)[0], imagenet_format)
    with pytest.raises(ModelError, match="SHA-256"):
        initial_network(str(wrong), TrainingConfig(), refuse_registered)


class _RunsCode:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("/var/tmp/triage-unpickled"),)  # type: ignore[return-value]


@pytest.mark.parametrize(
    "content", [{"features.0.weight": torch.zeros(1)}, {1: torch.zeros(1)}, [1, 2], {"features": _RunsCode()}]
)
def test_file_is_refused_when_it_holds_anything_else(tmp_path: Path, content: object) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)

    with pytest.raises(ModelError):
        initial_network(str(path), TrainingConfig(), refuse_registered)
    assert not Path("/var/tmp/triage-unpickled").exists()


def test_text_decides_between_a_file_and_a_model_whatever_lies_in_the_current_folder(
    tmp_path: Path, imagenet_format: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("clinic-1", "vgg16.pth"):
        torch.save(imagenet_format, tmp_path / name)
    registered = make_narrow_model(draw_narrow_network(seed=3), name="clinic-1")

    def load(name: str) -> tuple[Card, bytes]:
        if name != "clinic-1":
            raise UsageError(f"no model has the name {name!r}")
        return registered

    starts = [initial_network(text, TrainingConfig(), load)[1] for text in ("clinic-1", "./clinic-1", "vgg16.pth")]
    (tmp_path / "other").touch()

    assert starts[0].startswith("model clinic-1 ")
    assert starts[1:] == ["file", "file"]
    with pytest.raises(UsageError, match=r"for the file other, write \./other"):
        initial_network("other", TrainingConfig(), load)
    with pytest.raises(UsageError, match="no such file or folder"):
        initial_network("missing.pth", TrainingConfig(), load)


def test_error_lists_the_choices_when_the_file_is_missing() -> None:
    with pytest.raises(UsageError, match="imagenet, starter, random"):
        initial_network("/nonexistent", TrainingConfig(), refuse_registered)


def test_imagenet_weights_are_downloaded_with_progress_and_hash_check(
    monkeypatch: pytest.MonkeyPatch, imagenet_format: dict[str, Tensor]
) -> None:
    asked: list[dict[str, object]] = []

    def get_state_dict(_: object, **arguments: object) -> dict[str, Tensor]:
        asked.append(arguments)
        return imagenet_format

    monkeypatch.setattr(VGG16_Weights, "get_state_dict", get_state_dict)

    network, started_from = initial_network("imagenet", TrainingConfig(), refuse_registered)

    assert asked == [{"progress": True, "check_hash": True, "weights_only": True}]
    assert started_from == "imagenet"
    assert _has(network, imagenet_format)


def test_error_says_what_to_do_when_imagenet_weights_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_state_dict(_: object, **arguments: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(VGG16_Weights, "get_state_dict", get_state_dict)

    with pytest.raises(ModelError, match="give their file"):
        initial_network("imagenet", TrainingConfig(), refuse_registered)


def test_head_of_the_initial_model_is_kept_when_it_fits(tmp_path: Path) -> None:
    before = draw_narrow_network(seed=3)
    write_narrow_model(tmp_path / "model", before, name="before")

    same, started_from = initial_network(str(tmp_path / "model"), TrainingConfig(), refuse_registered)
    other, other_from = initial_network(
        str(tmp_path / "model"), TrainingConfig(head="independent", n_reviewers=6), refuse_registered
    )

    assert started_from.startswith("model before ")
    assert torch.equal(same.head.weight, before.head.weight)
    assert other_from.startswith("convolutions of model before ")
    assert isinstance(other.head, IndependentHead)
    assert other.head.weight.shape == (6, 8 * 7 * 7)
    assert same.architecture == other.architecture == before.architecture
    assert torch.equal(other.features[0].weight, before.features[0].weight)
