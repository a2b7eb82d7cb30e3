"""A network's weights as safetensors, and back. No pickle anywhere."""

from safetensors import SafetensorError
from safetensors.torch import load, save

from triage.errors import ModelError
from triage.quality.artifact import check_weights
from triage.quality.card import Card
from triage.quality.network import OrdinalVGG16


def weights_of(network: OrdinalVGG16) -> bytes:
    """The weights as a safetensors file, in the precision that they have."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()})


def load_network(card: Card, weights: bytes) -> OrdinalVGG16:
    """Builds the network of a card, in float32 whatever the precision of the file.

    Raises:
        ModelError: the hash, a tensor's name or its shape is not what the card says, or the biases cross.
    """
    check_weights(card, weights)
    network = OrdinalVGG16(card.n_outputs, card.head)
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
