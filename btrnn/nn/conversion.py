"""From one dense layer, of torch's or of this package's, to a factorised one whose W is near to it."""

from collections.abc import Mapping, Sequence
from inspect import signature
from math import hypot
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations

from btrnn.nn.gru import GRU
from btrnn.nn.input_map import DENSE, Dense, Factory, InputMap, MapPlace
from btrnn.nn.lstm import LSTM
from btrnn.nn.recurrent import Recurrent

# what becomes of each
_RECURRENT: dict[type[nn.Module], type[Recurrent]] = {nn.LSTM: LSTM, LSTM: LSTM, nn.GRU: GRU, GRU: GRU}
_KINDS: tuple[type[nn.Module], ...] = (nn.Linear, *_RECURRENT)
_OF_W = ("input_maps.", "weight_ih")  # how the names of the parameters of W begin
_META: Factory = {"device": "meta", "dtype": None}


class Converted(NamedTuple):
    """A factorised layer that was made from a dense one.

    layer: It.
    num_weights_before, num_weights_after: Entries of W, and the parameters that stand for it; of a recurrent layer over
        all layers and directions.
    relative_error: Of W, or of all W together: the Frobenius norm of the difference over that of W.
    """

    layer: nn.Module
    num_weights_before: int
    num_weights_after: int
    relative_error: float


class Outline(NamedTuple):
    """A factorised layer without numbers.

    layer: On the meta device.
    places: Where each W stands.
    """

    layer: nn.Module
    places: Sequence[MapPlace]


def is_dense_layer(layer: nn.Module) -> bool:
    """Return whether this is a layer that can be converted; a subclass may compute something else, so it is none."""
    return type_before_parametrizations(layer) in _KINDS and isinstance(getattr(layer, "input_map", DENSE), Dense)


def kind_of(layer: nn.Module) -> str:
    """Return a layer's type as its users write it, such as "nn.LSTM"."""
    return _type_name(type_before_parametrizations(layer))


def kinds_text() -> str:
    """Write the types of all layers that can be converted."""
    *others, last = [_type_name(kind) for kind in _KINDS]
    return f"{', '.join(others)} or dense {last}"


def _type_name(kind: type) -> str:
    home = {"torch": "nn.", "btrnn": "btrnn."}.get(kind.__module__.partition(".")[0], "")
    return f"{home}{kind.__name__}"


def count(module: nn.Module) -> int:
    """Count the parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def input_weights(layer: Any) -> list[Tensor]:
    """Return W of each layer and direction of a dense layer."""
    if isinstance(layer, nn.Linear):
        return [layer.weight]
    if isinstance(layer, nn.RNNBase):
        return [parameter for name, parameter in layer.named_parameters() if name.startswith("weight_ih")]
    return [part.weight for part in layer.input_maps]


def outline(layer: Any, input_map: InputMap) -> Outline:
    """Make the layer that is to take a dense one's place, without numbers.

    Raises:
        ValueError: The map does not fit the layer's sizes.
    """
    if isinstance(layer, nn.Linear):
        place = MapPlace(0, 1, 1, layer.in_features, layer.out_features, _META)
        return Outline(input_map.build(place), [place])
    kind: Any = _RECURRENT[type(layer)]
    # torch's layers and ours keep what they were made with under the arguments' names
    options = {name: getattr(layer, name) for name in signature(kind).parameters if hasattr(layer, name)}
    made = kind(**options | {"input_map": input_map, **_META})
    return Outline(made, [place for place in made._places(_META) for _ in range(made.num_directions)])


def convert(layer: nn.Module, input_map: InputMap, empty: Outline) -> Converted:
    """Make the factorised layer that is near to a dense one; called without gradients.

    Args:
        layer: What it is made from; stays as it is.
        input_map: What its W is to be made of.
        empty: The outline of the two.

    Raises:
        ValueError: The map cannot be made from a matrix, or not from this one.
    """
    weights = input_weights(layer)
    bias = layer.bias if isinstance(layer, nn.Linear) else None
    maps = []
    for place, weight in zip(empty.places, weights, strict=True):
        here = place._replace(factory={"device": weight.device, "dtype": weight.dtype})
        made = input_map.from_dense(here, weight.detach(), None if bias is None else bias.detach())
        for name, parameter in made.named_parameters():
            alike = bias if bias is not None and name.endswith("bias") else weight
            parameter.requires_grad_(alike.requires_grad)
        maps.append(made)
    before, after = sum(weight.numel() for weight in weights), sum(count(made) for made in maps)
    new = maps[0] if isinstance(layer, nn.Linear) else _fill(empty.layer, maps, layer)
    after -= 0 if bias is None else bias.numel()
    return Converted(new.train(layer.training), before, after, _relative_error(maps, weights))


def _relative_error(maps: Sequence[Any], weights: Sequence[Tensor]) -> float:
    """Compute the norm of the difference of all W together over the norm of all W."""
    pairs = [(made.to_dense().double(), weight.double()) for made, weight in zip(maps, weights, strict=True)]
    difference, norm = hypot(*((new - old).norm() for new, old in pairs)), hypot(*(old.norm() for _, old in pairs))
    return difference / norm if norm else difference


def _fill(empty: Any, maps: Sequence[nn.Module], layer: nn.Module) -> nn.Module:
    """Fill the outline of a recurrent layer with its W, and the other numbers of a dense one of torch's or of ours."""
    filled: nn.Module = empty
    empty.input_maps = nn.ModuleList(maps)
    old = {name: tensor for name, tensor in layer.named_parameters() if not name.startswith(_OF_W)}
    # by nn.LSTM's names too
    filled.load_state_dict({name: tensor.detach().clone() for name, tensor in old.items()}, strict=False, assign=True)
    for name, parameter in filled.named_parameters():
        if not name.startswith(_OF_W):
            alike = [old[name]] if name in old else _biases(old, name[name.index("_l") :])
            parameter.requires_grad_(any(tensor.requires_grad for tensor in alike))
    return filled


def _biases(parameters: Mapping[str, Tensor], suffix: str) -> list[Tensor]:
    """Return torch's biases of a layer and direction, whose names end in `suffix`, such as "_l0_reverse"."""
    return [tensor for name, tensor in parameters.items() if name.startswith("bias") and name.endswith(suffix)]
