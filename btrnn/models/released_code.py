"""The initial W of the authors' released code, which the experiments on raw video begin with, and a control of it.

The library's layers draw W at a known scale, whatever the rank. The released code draws every tensor of a map with one
standard deviation, at whatever scale results; so it belongs to the experiment and not to the layers. So does the
control: the layers' own W, divided by the size of raw input.
"""

from collections.abc import Callable
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

from btrnn.choices import check_choice
from btrnn.nn.dense_map import DenseMap
from btrnn.nn.factorised import FactorisedLinear
from btrnn.nn.linear import BTLinear, TTLinear
from btrnn.nn.parameters import reset, to_fill
from btrnn.nn.recurrent import Recurrent

InitName = Literal["default", "paper", "small"]
_Layer = TypeVar("_Layer", bound=Recurrent)
DENSE_STD = 0.1  # of a dense input-to-hidden matrix
TT_STD = 0.08  # of the TT-cores
GREY_LEVELS = 64  # about the standard deviation of raw input, -128 to 127; that of normalised input is 1


def bt_std(tucker_rank: int) -> float:
    """Compute the standard deviation of a block-term map's core and factors.

    Raises:
        ValueError: The rank is above 4, where the formula .05 (5 - R) is no longer positive.
    """
    if tucker_rank > 4:
        raise ValueError(
            f"init='paper' draws with standard deviation .05 (5 - R), so tucker_rank must be at most 4, "
            f"got {tucker_rank}; use init='default'"
        )
    return 0.05 * (5 - tucker_rank)


@torch.no_grad()
def draw_map(input_map: nn.Module) -> None:
    """Draw W of one layer and direction as the released code; a bias is drawn as the map draws it.

    Raises:
        ValueError: The released code has no such map, or a block-term map's rank is above 4.
    """
    if isinstance(input_map, BTLinear):
        std = bt_std(input_map.tucker_rank)
    elif isinstance(input_map, TTLinear):
        std = TT_STD
    elif isinstance(input_map, DenseMap):
        std = DENSE_STD
        reset(input_map)  # whose numbers the next ones of the generator follow, as in the published runs
    else:
        raise ValueError(f"the released code has no initial numbers for a {type(input_map).__name__}")
    with to_fill(_weights(input_map)) as weights:
        for weight in weights:
            _truncated_normal(weight, std)


def draw(layer: Recurrent) -> None:
    """Draw all parameters anew: W as the released code, U and the bias by the layer's own choices.

    Raises:
        ValueError: As `draw_map`.
    """
    for input_map in layer.input_maps:
        draw_map(input_map)
    layer.reset_recurrent_parameters()


@torch.no_grad()
def shrink(layer: Recurrent) -> None:
    """Divide the lowest layer's W by `GREY_LEVELS`, so that W x is as large on raw input as on normalised input.

    Raises:
        ValueError: A map is none of this library's.
    """
    for input_map in layer.input_maps[: layer.num_directions]:
        if not isinstance(input_map, FactorisedLinear | DenseMap):
            raise ValueError(f"init='small' knows no W of a {type(input_map).__name__}; use init='default'")
        weights = [getattr(module, name) for module, name in _weights(input_map)]
        for weight in weights:  # each takes an equal share, as `FactorisedLinear.reset_parameters` has it
            weight.div_(GREY_LEVELS ** (1 / len(weights)))


def initialised(layer: Callable[[], _Layer], init: InitName) -> _Layer:
    """Make a layer with the initial numbers of a choice.

    Args:
        layer: Makes it.
        init: "default" for the layer's own, "paper" for the released code's, "small" for the layer's own made to fit
            raw input, see `shrink`.

    Raises:
        ValueError: As `draw_map` or `shrink`, or the choice is another.
    """
    check_choice("init", init, get_args(InitName))
    before = torch.get_rng_state()
    made = layer()
    if init == "paper":
        torch.set_rng_state(before)  # so that one seed means the same numbers whatever the layer drew at first
        draw(made)
    elif init == "small":
        shrink(made)
    return made


def _weights(input_map: nn.Module) -> list[tuple[nn.Module, str]]:
    """List the modules and names of the tensors that W is made of."""
    return input_map.weight_places() if isinstance(input_map, FactorisedLinear) else [(input_map, "weight")]


def _truncated_normal(parameter: Tensor, std: float) -> None:
    """Fill a tensor with normal numbers of this standard deviation, redrawn where beyond two of it."""
    nn.init.trunc_normal_(parameter, std=std, a=-2 * std, b=2 * std)
