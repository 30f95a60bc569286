"""Layers of other libraries, with the numbers of ours where they are of the same form."""

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from btrnn.benchmark.measure.implementations import gradient
from btrnn.benchmark.settings import Shape
from btrnn.nn.factorised import FactorisedLinear

Numbers = Callable[[Any], Sequence[Tensor]]


class Peer(NamedTuple):
    """A layer of another library, of the format itself or of what comes near it.

    module, name: Its class.
    sizes: The arguments by place.
    options: Those by name, next to `bias`.
    numbers: Lists those of our layer in the order of its parameters, each in the order of its entries; None where the
        form is another one, which has numbers of its own.
    """

    module: str
    name: str
    sizes: tuple[Any, ...]
    options: dict[str, Any]
    numbers: Numbers | None

    def build(self, ours: FactorisedLinear) -> nn.Module:
        """Make it on the CPU, with our layer's numbers if it is of the same form."""
        with redirect_stdout(io.StringIO()):  # tednet prints its compression
            made: nn.Module = getattr(import_module(self.module), self.name)(*self.sizes, bias=False, **self.options)
        if self.numbers is not None:
            with torch.no_grad():
                for parameter, values in zip(made.parameters(), self.numbers(ours), strict=True):
                    parameter.copy_(values.reshape(parameter.shape))
        return made


def of_tednet(module: str, name: str, *sizes: Any, numbers: Numbers | None = None) -> Peer:
    """Name one of tednet's layers; its sizes are lists."""
    arguments = tuple(list(size) if isinstance(size, tuple) else size for size in sizes)
    return Peer(f"tednet.tnn.{module}", name, arguments, {}, numbers)


def of_tltorch(kind: str, modes: tuple[Any, ...], rank: Any, numbers: Numbers | None = None) -> Peer:
    """Name tensorly-torch's layer of one kind."""
    return Peer("tltorch", "FactorizedLinear", modes, {"factorization": kind, "rank": rank}, numbers)


# ---- block terms


def block_terms_of_tednet(shape: Shape) -> Peer:
    """Name the BTTLinear of a shape."""
    sizes = (shape.in_modes, shape.out_modes, (shape.rank,) * shape.order, shape.num_blocks)
    return of_tednet("bt_tucker", "BTTLinear", *sizes, numbers=lambda ours: tednet_numbers(ours.weights()))


def tednet_numbers(operands: Sequence[Tensor]) -> list[Tensor]:
    """Lay our core and factors out as the parameters of a BTTLinear: of each block its core, then its factors."""
    core, *factors = operands
    return [part for n in range(len(core)) for part in (_reversed_axes(core[n]), *(factor[n] for factor in factors))]


def tednet_gradients(parameters: Sequence[Tensor], num_blocks: int) -> list[Tensor]:
    """Return the gradients of such parameters, laid out as our core and factors."""
    found, count = [gradient(parameter) for parameter in parameters], len(parameters) // num_blocks
    cores, *factors = (found[k::count] for k in range(count))
    return [torch.stack([_reversed_axes(core) for core in cores]), *(torch.stack(blocks) for blocks in factors)]


def _reversed_axes(core: Tensor) -> Tensor:
    """Turn a core around: tednet reads the ranks from the last to the first."""
    return core.permute(*reversed(range(core.dim())))


# ---- tensor trains


def train_of_tednet(shape: Shape) -> Peer:
    """Name the TTLinear of a shape."""
    sizes = (shape.in_modes, shape.out_modes, (shape.rank,) * (shape.order - 1))
    return of_tednet("tensor_train", "TTLinear", *sizes, numbers=_with_ranks_last)


def _with_ranks_last(ours: Any) -> list[Tensor]:
    return [core.permute(1, 2, 0, 3) for core in ours.weights()]


def train_of_tltorch(shape: Shape) -> Peer:
    """Name the layer of a shape, whose einsum is torch's with opt_einsum."""
    return of_tltorch("blocktt", (shape.in_modes, shape.out_modes), shape.rank, lambda o: tltorch_cores(o.weights()))


def tltorch_cores(cores: Sequence[Tensor]) -> list[Tensor]:
    """Swap the modes of our cores, or back: tensorly-torch has the output's before the input's."""
    return [core.permute(0, 2, 1, 3) for core in cores]
