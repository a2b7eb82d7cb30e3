"""A network's weights to and from safetensors, which cannot run code."""

from safetensors import SafetensorError
from safetensors.torch import load, save

from triage.domain.architecture import layers_of
from triage.domain.card import Card, check_preprocessing
from triage.errors import ModelError
from triage.model.artifact import check_model
from triage.model.network import OrdinalVGG16, ReasonLayer
from triage.model.photo_hashes import PhotoHashes, header_of


def weights_of(network: OrdinalVGG16, *, made_as: str = "", photos: PhotoHashes | None = None) -> bytes:
    """Encodes the weights as a safetensors file, in their precision.

    Args:
        made_as: distinguishes models with the same weights, by their thresholds for example; it is stored in the file
            and so changes its SHA-256.
        photos: the hashes of those that the network learned from, for the header of the file.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    if photos is not None:
        return save(tensors, header_of(photos, made_as=made_as))
    return save(tensors, {"made_as": made_as} if made_as else None)


def load_network(card: Card, weights: bytes) -> OrdinalVGG16:
    """Builds the network of a card, in float32 for any precision of the file.

    Raises:
        ModelError: the hash, the names or the shapes are not those of the card, or the biases ascend.
    """
    check_preprocessing(card)
    check_model(card, weights)
    layers = layers_of(card.architecture)
    network = OrdinalVGG16(card.n_outputs, card.head, layers)
    if card.reasons is not None:
        network.reasons = ReasonLayer(layers, len(card.reasons.reasons))
    try:
        network.load_state_dict(load(weights))
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"the weights of model {card.name!r} do not fit {card.architecture}: export the model again"
        ) from error
    if card.head == "coral" and not bool((network.head.bias.diff() <= 0).all()):
        raise ModelError(
            f"the biases of model {card.name!r} do not descend, so its probabilities could cross: train the model again"
        )
    return network
