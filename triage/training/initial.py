"""The initial weights of a training: ImageNet's, those of a model, or random ones."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError

import torch
from torchvision.models import VGG16_Weights

from triage.domain.card import Card
from triage.errors import ModelError, UnknownModelError, UsageError
from triage.model.named import LoadRegistered, read_model
from triage.model.network import OrdinalVGG16, draw_network
from triage.model.starter import STARTER
from triage.model.weights import load_network
from triage.training.config import INITIALISATIONS, TrainingConfig, initial_file

# torchvision ends the names of its files with the first digits of their SHA-256
_HASHED_NAME: Final = re.compile(r"-([0-9a-f]{8,})\.pth$")


def initial_network(init: str, config: TrainingConfig, load_registered: LoadRegistered) -> tuple[OrdinalVGG16, str]:
    """Makes the network that a training starts from.

    Args:
        init: `imagenet` (torchvision's weights, downloaded once, hash checked), `starter`, `random`, `auto`
            (ImageNet's, or the starter model where those cannot be downloaded), a file in the format of torchvision's
            VGG16 weights, or a model, as `triage.model.named.read_model` reads it, whose layers are kept.
        config: for the number of outputs, the head and the seed.
        load_registered: called for a registered model.

    Returns:
        The network, and the name of its initial weights for the card. The head is new, unless a model has the same
        head and number of outputs.

    Raises:
        UsageError: no such file, folder or registered model.
        ModelError: the weights cannot be downloaded, are damaged or belong to another network.
    """
    match init:
        case "random":
            return draw_network(config.seed, config.n_reviewers, config.head), "random"
        case "imagenet":
            return _with_convolutions(_fetch_imagenet(), config), "imagenet"
        case "auto":
            try:
                return _with_convolutions(_fetch_imagenet(), config), "imagenet"
            except ModelError:
                return _from_model(*read_model(STARTER, load_registered), config)
    path = initial_file(init)
    if path is None:
        try:
            card, weights = read_model(init, load_registered)
        except UsageError as error:  # perhaps a misspelt name of other weights
            raise UnknownModelError(f"init: {error}, or give {', '.join(INITIALISATIONS)}") from error
        return _from_model(card, weights, config)
    return _with_convolutions(_read_state_dict(path), config), "file"


def _fetch_imagenet() -> Mapping[str, Any]:
    try:
        weights: Mapping[str, Any] = VGG16_Weights.IMAGENET1K_V1.get_state_dict(
            progress=True, check_hash=True, weights_only=True
        )
    except (URLError, OSError, RuntimeError) as error:
        raise ModelError(
            "init: the ImageNet weights of VGG16 cannot be downloaded or are damaged: give their file, or `starter`"
        ) from error
    return weights


def _read_state_dict(path: Path) -> Mapping[str, Any]:
    """Reads a file of tensors, and compares its hash with the one in its name, if any."""
    stated = _HASHED_NAME.search(path.name)
    if stated and not hashlib.sha256(path.read_bytes()).hexdigest().startswith(stated[1]):
        raise ModelError("init: the file does not have the SHA-256 that its name states: download it again")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)  # tensors only: no code of the file is run
    except Exception as error:
        raise ModelError("init: the file is not a state dict of tensors, as torchvision saves VGG16") from error
    if not isinstance(loaded, Mapping) or not all(isinstance(name, str) for name in loaded):
        raise ModelError("init: the file is not a state dict of tensors, as torchvision saves VGG16")
    return loaded


def _with_convolutions(weights: Mapping[str, Any], config: TrainingConfig) -> OrdinalVGG16:
    network = draw_network(config.seed, config.n_reviewers, config.head)
    prefix = "features."
    convolutions = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    try:
        network.features.load_state_dict(convolutions)
    except RuntimeError as error:
        raise ModelError("init: the weights are not those of VGG16 without batch norm: give other ones") from error
    return network


def _from_model(card: Card, weights: bytes, config: TrainingConfig) -> tuple[OrdinalVGG16, str]:
    network = load_network(card, weights)
    network.reasons = None  # fitted to the convolutions as they are, and again once they are trained
    if card.n_outputs == config.n_reviewers and card.head == config.head:
        return network, f"model {card.name} {card.weights_sha256[:12]}"
    started = draw_network(config.seed, config.n_reviewers, config.head, network.layers)
    started.features.load_state_dict(network.features.state_dict())
    return started, f"convolutions of model {card.name} {card.weights_sha256[:12]}"
