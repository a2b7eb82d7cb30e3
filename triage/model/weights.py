"""A network's weights as safetensors, and back. No pickle anywhere."""

from safetensors import SafetensorError
from safetensors.torch import load, save

from triage.domain.architecture import layers_of
from triage.domain.card import Card, check_preprocessing
from triage.errors import ModelError
from triage.model.artifact import check_weights
from triage.model.network import OrdinalVGG16


def weights_of(network: OrdinalVGG16, *, made_as: str = "") -> bytes:
    """The weights as a safetensors file, in the precision that they have.

    Args:
        made_as: what tells models of the same weights apart, such as their thresholds; it goes into the file, and
            so into its SHA-256.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    return save(tensors, {"made_as": made_as} if made_as else None)


def load_network(card: Card, weights: bytes) -> OrdinalVGG16:
    """Builds the network of a card, in float32 whatever the precision of the file.

    Raises:
        ModelError: the hash, a tensor's name or its shape is not what the card says, or the biases cross.
    """
    check_preprocessing(card)
    check_weights(card, weights)
    network = OrdinalVGG16(card.n_outputs, card.head, layers_of(card.architecture))
    try:
        network.load_state_dict(load(weights))
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"the weights of model {card.name!r} do not fit {card.architecture}: export it again"
        ) from error
    if card.head == "coral" and not bool((network.head.bias.diff() <= 0).all()):
        raise ModelError(
            f"the biases of model {card.name!r} do not descend, so its probabilities could cross: train again"
        )
    return network
