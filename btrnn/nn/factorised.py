"""The module behind all factorised maps: W x + b from the tensors whose contraction is W."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod, sqrt
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from btrnn.nn.parameters import to_fill
from btrnn.ops.contraction import LARGEST_ORDER, apply_map, contract_to_number, dense_weight, plan_for
from btrnn.ops.dispatch import check_dtype, is_tracing
from btrnn.ops.plan import make_plan
from btrnn.ops.stages import BLOCK, Plan, TensorNetwork

TRACED_BATCH_SIZE = 64  # for which the plan of torch.compile, torch.export and tracing is chosen


def product_text(modes: Sequence[int]) -> str:
    """Write modes as 8x20x20x18."""
    return "x".join(map(str, modes))


class FactorisedLinear(nn.Module):
    """What all maps share: modes, bias, reshaping, and an initialisation of known scale.

    A subclass checks its modes, makes its parameters, names their axes by `_set_network` and lists them in `weights`.

    Args:
        in_modes: I_1 .. I_d.
        out_modes: J_1 .. J_d.
        bias: Whether to add a learnt vector of J numbers.
        device, dtype: Of the parameters.
    """

    bias: nn.Parameter | None
    network: TensorNetwork
    largest_order: ClassVar[int] = LARGEST_ORDER
    rank_names: ClassVar[tuple[str, ...]]  # the attributes that, with the modes, say which map it is

    def __init__(
        self,
        in_modes: tuple[int, ...],
        out_modes: tuple[int, ...],
        bias: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.in_modes, self.out_modes = in_modes, out_modes
        self.in_features, self.out_features = prod(in_modes), prod(out_modes)
        self.order = len(in_modes)
        if max(self.order, len(out_modes)) > self.largest_order:
            raise ValueError(
                f"{type(self).__name__} takes at most {self.largest_order} modes, got "
                f"{max(self.order, len(out_modes))}: merge some that stand beside one another"
            )
        parameter = nn.Parameter(torch.empty(self.out_features, device=device, dtype=dtype)) if bias else None
        self.register_parameter("bias", parameter)

    def _set_network(self, operands: Sequence[tuple[str, ...]], ranks: dict[str, int], num_blocks: int = 1) -> None:
        """Name the axes of the operands, and draw them; `ranks` has the size of each axis that is not a mode."""
        sizes = {f"i{k}": mode for k, mode in enumerate(self.in_modes)} | ranks
        sizes |= {f"j{k}": mode for k, mode in enumerate(self.out_modes)}
        self._weight_names = [name.rpartition(".")[::2] for name, _ in self.named_parameters() if name != "bias"]
        self.network = TensorNetwork(tuple(operands), tuple(sizes.items()), num_blocks)
        # torch.compile, torch.export and tracing take one plan for all batch sizes, chosen before they trace
        self._traced_plans = [
            make_plan(self.network, TRACED_BATCH_SIZE, 4, training=True, native=False, device=kind)
            for kind in ("cpu", "cuda")[: 1 + torch.cuda.is_available()]
        ]
        self.network = self._traced_plans[0].network  # an equal one, which has worked out what tracing cannot
        self.reset_parameters()

    def weights(self) -> list[Tensor]:
        """Return the parameters that W is made of, in the order of the network's operands."""
        raise NotImplementedError

    def operands(self) -> list[Tensor]:
        """Return the tensors whose contraction is W: those of `network`, each with a first axis of blocks."""
        network = self.network
        return [
            weight.reshape(network.num_blocks, *network.shape(names))
            for weight, names in zip(self.weights(), network.operands, strict=True)
        ]

    @property
    def num_weights(self) -> int:
        """The number of parameters that stand for W, bias not counted."""
        return sum(operand.numel() for operand in self.operands())

    @property
    def compression_ratio(self) -> float:
        """Entries of the dense W over the parameters that stand for it."""
        return self.in_features * self.out_features / self.num_weights

    def weight_places(self) -> list[tuple[nn.Module, str]]:
        """Return which module holds each of `operands()`, and under which name."""
        return [(self.get_submodule(path), name) for path, name in self._weight_names]

    @torch.no_grad()
    def output_size(self) -> float:
        """Compute the root mean square of W x for white x of unit variance, ||W|| / sqrt(J), without W."""
        return float(self._dense_norm(self.operands())) / sqrt(self.out_features)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw all parameters anew.

        W has exactly the norm that nn.Linear's W has on average, so that W x has a root mean square of 1/sqrt(3) for
        white x of unit variance, whatever the rank and the number of blocks.
        """
        with to_fill(self.weight_places()) as weights:
            if weights[0].is_meta:  # shapes without numbers, as nn.Linear allows
                return
            for weight in weights:
                weight.normal_()
                weight.div_(weight.square().mean().sqrt())
            # Rescaled after drawing: a single draw's norm may be far from its mean (at R = 1 the core is one number).
            # Each of them takes an equal share, so that one learning rate suits them all.
            target = sqrt(self.out_features / 3)
            scale = (target / self._dense_norm(weights)) ** (1 / len(weights))
            for weight in weights:
                weight.mul_(scale)
        if self.bias is not None:
            bound = 1 / sqrt(self.in_features)  # as nn.Linear
            with to_fill([(self, "bias")]) as (bias,):
                bias.uniform_(-bound, bound)

    def _dense_norm(self, weights: Sequence[Tensor]) -> Tensor:
        """Compute the Frobenius norm in float64 of the W that `weights` stand for, without it: they are squared."""
        factors = []
        for weight, names in zip(weights, self.network.operands, strict=True):
            tensor = weight.double().reshape(self.network.num_blocks, *self.network.shape(names))
            again = [f"{name}'" if name[0] == "r" else name for name in names]  # a sum over blocks and ranks of its own
            factors += [(tensor, (BLOCK, *names)), (tensor, (f"{BLOCK}'", *again))]
        return contract_to_number(factors).clamp_min(0).sqrt()

    def to_dense(self) -> Float[Tensor, "out_features in_features"]:
        """Reconstruct W, laid out as nn.Linear.weight: (J, I). Differentiable. Costs the memory of W."""
        network = self.network
        dense = dense_weight(network, self.operands(), (*network.out_axes, *network.in_axes))
        return dense.reshape(self.out_features, self.in_features)

    @torch.no_grad()
    def relative_error(self, weight: Float[Tensor, "out_features in_features"]) -> float:
        """Measure how far W is from another matrix: the Frobenius norm of the difference over that of `weight`.

        Of a matrix of zeros it is the norm of the difference.

        Raises:
            ValueError: The other matrix is not of W's shape.
        """
        if weight.shape != (self.out_features, self.in_features):
            raise ValueError(
                f"{type(self).__name__} stands for a weight of shape ({self.out_features}, {self.in_features}), "
                f"got one of {tuple(weight.shape)}"
            )
        dense = weight.double()
        difference, norm = float((self.to_dense().double() - dense).norm()), float(dense.norm())
        return difference / norm if norm else difference

    @torch.no_grad()
    def fill(self, values: Sequence[Tensor], bias: Tensor | None) -> None:
        """Copy numbers into the weights, and into the bias if there is one.

        Raises:
            ValueError: The bias is not of W's rows.
        """
        if bias is not None and bias.shape != (self.out_features,):
            raise ValueError(f"the bias must have the shape ({self.out_features},), got {tuple(bias.shape)}")
        for parameter, value in zip(self.weights(), values, strict=True):
            parameter.copy_(value)
        if self.bias is not None and bias is not None:
            self.bias.copy_(bias)

    def plan(self, batch_size: int) -> Plan:
        """Return how W x is computed for this many vectors: `print(layer.plan(96))` lists the stages and their cost.

        Args:
            batch_size: How many vectors x has, B or for a sequence T B.

        Returns:
            The plan that `forward` follows for such an x, with gradients if they are enabled here.
        """
        operands = self.operands()
        plan = plan_for(self.network, batch_size, operands[0].new_empty(0), operands)
        return replace(plan, batch_size=batch_size)  # one plan serves many sizes; show this one's numbers

    def forward(self, x: Float[Tensor, "*batch in_features"]) -> Float[Tensor, "*batch out_features"]:
        """Compute W x + b for every vector of `x`.

        Raises:
            ValueError: The last axis of `x` does not have `in_features` entries, or `x` is not of the parameters' type.
        """
        operands, tracing = self.operands(), is_tracing()
        check_dtype(type(self).__name__, x, operands[0])
        if not tracing and x.shape[-1:] != (self.in_features,):
            raise ValueError(
                f"{type(self).__name__} takes vectors of {self.in_features} = {product_text(self.in_modes)} features "
                f"on the last axis, got an input of shape {tuple(x.shape)}"
            )
        rows = x.reshape(-1, self.in_features)
        if tracing or torch.compiler.is_compiling():
            plan = self._traced_plans[-1 if rows.is_cuda else 0]
        else:
            plan = plan_for(self.network, rows.shape[0], rows, operands)
        output = apply_map(plan, rows, operands).reshape(*x.shape[:-1], self.out_features)
        return output if self.bias is None else output + self.bias

    def extra_repr(self) -> str:
        """Describe the map as W's two shapes, ranks, and the compression of W."""
        ranks = "".join(f"{name}={getattr(self, name)}, " for name in self.rank_names)
        return (
            f"{product_text(self.in_modes)} -> {product_text(self.out_modes)}, {ranks}bias={self.bias is not None}, "
            f"{int(self.compression_ratio):,}x fewer weights"
        )


Map = TypeVar("Map", bound=FactorisedLinear)


def filled(
    kind: Callable[..., Map], weight: Tensor, bias: Tensor | None, values: Sequence[Tensor], *sizes: Any, **ranks: Any
) -> Map:
    """Make a map of the device and type of a dense matrix, and fill it.

    Args:
        kind: Its class.
        weight: The dense matrix that the values come from.
        bias: Taken over as it is; without one the map has none.
        values: As `FactorisedLinear.weights` lists them.
        sizes: The arguments that the class takes by place: modes, or features.
        ranks: Those by name.
    """
    made = kind(*sizes, **ranks, bias=bias is not None, device=weight.device, dtype=weight.dtype)
    made.fill(values, bias)
    return made
