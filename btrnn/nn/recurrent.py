"""What recurrent layers share: shapes, layers and directions, packed sequences, states, dropout and parameters.

A kind of layer, such as `btrnn.LSTM`, adds its cell: how many gates there are, and one pass over the steps.
"""

from collections.abc import Sequence
from math import sqrt
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from btrnn.complexity import check_count
from btrnn.nn.input_map import Factory, InputMap, MapPlace
from btrnn.nn.options import RecurrentInit, check_choice, check_probability
from btrnn.nn.parameters import NumberedParameters, reset
from btrnn.ops.dispatch import check_dtype, is_tracing
from btrnn.ops.lstm import ActivationName

States = tuple[Tensor, ...]  # what a layer carries from step to step: h and c of an LSTM


class Recurrent(nn.Module):
    """A stack of recurrent layers, in one direction or two, with the call of torch's.

    A subclass sets the three constants, and defines `_states` and `_unroll`; `btrnn.LSTM` says what the arguments are.

    Attributes:
        mode: Torch's name of the kind of layer.
        num_gates: How many gates W serves.
        num_states: How many tensors are carried from step to step.
        input_maps: W of each layer and direction: layer 0, layer 0 reversed, layer 1, and so on.
        weight_hh_l0, weight_hh_l0_reverse, weight_hh_l1, ..: U of each, (gates x H, H).
        bias_l0, bias_l0_reverse, bias_l1, ..: The bias of each, (gates x H,).

    Raises:
        ValueError: A size below 1, a probability outside [0, 1), an unknown choice, or a map that does not fit.
    """

    mode: ClassVar[str]
    num_gates: ClassVar[int]
    num_states: ClassVar[int]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        input_map: InputMap,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        gate_activation: ActivationName = "sigmoid",
        recurrent_init: RecurrentInit = "uniform",
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.input_size = check_count("input_size", input_size)
        self.hidden_size = check_count("hidden_size", hidden_size)
        self.num_layers = check_count("num_layers", num_layers)
        self.dropout = check_probability("dropout", dropout)
        self.input_dropout = check_probability("input_dropout", input_dropout)
        self.recurrent_dropout = check_probability("recurrent_dropout", recurrent_dropout)
        self.gate_activation = check_choice("gate_activation", gate_activation, ("sigmoid", "hard_sigmoid"))
        self.recurrent_init = check_choice("recurrent_init", recurrent_init, ("uniform", "orthogonal"))
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        self.num_directions = 2 if bidirectional else 1
        self.input_map = input_map
        self.input_maps = nn.ModuleList(
            input_map.build(place)
            for place in self._places({"device": device, "dtype": dtype})
            for _ in range(self.num_directions)
        )
        for name, shape in self._parameter_shapes().items():
            for suffix in self._suffixes:
                self.register_parameter(name + suffix, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.reset_recurrent_parameters()

    # ---- parameters

    def _places(self, factory: Factory) -> list[MapPlace]:
        """List where in the stack the maps of each layer stand."""
        above = self.hidden_size * self.num_directions
        sizes = [self.input_size, *[above] * (self.num_layers - 1)]
        return [
            MapPlace(layer, self.num_directions, self.num_gates, size, self.hidden_size, factory)
            for layer, size in enumerate(sizes)
        ]

    def _parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each parameter beside W, by its name without layer and direction."""
        rows = self.num_gates * self.hidden_size
        return {"weight_hh": (rows, self.hidden_size)} | ({"bias": (rows,)} if self.bias else {})

    @property
    def _suffixes(self) -> list[str]:
        """What torch appends to the names of the parameters of each layer and direction, such as "_l0_reverse"."""
        directions = ("", "_reverse")[: self.num_directions]
        return [f"_l{layer}{direction}" for layer in range(self.num_layers) for direction in directions]

    def reset_parameters(self) -> None:
        """Draw all parameters anew, W, U and the bias, by the choices that the layer was made with."""
        for input_map in self.input_maps:
            reset(input_map)
        self.reset_recurrent_parameters()

    @torch.no_grad()
    def reset_recurrent_parameters(self) -> None:
        """Draw U and the bias anew."""
        bound = 1 / sqrt(self.hidden_size)
        for name, parameter in self.named_parameters():  # under other names too, from which a hook computes U
            if name.startswith("input_maps."):
                continue
            if "weight_hh_l" in name and self.recurrent_init == "orthogonal":
                nn.init.orthogonal_(parameter)
            elif "bias_l" in name:
                self._draw_bias(parameter, bound)
            else:
                parameter.uniform_(-bound, bound)

    def _draw_bias(self, bias: Tensor, bound: float) -> None:
        """Draw a bias of the gates; called without gradients."""
        bias.uniform_(-bound, bound)

    def flatten_parameters(self) -> None:
        """Do nothing: torch's method lays the parameters out for cuDNN's layers, which this one does not call."""

    @property
    def weight_hh(self) -> NumberedParameters:
        """U of each layer and direction by number; `(layer.weight_hh, "0")` is `(layer, "weight_hh_l0")`."""
        return NumberedParameters(self, "weight_hh", [f"weight_hh{suffix}" for suffix in self._suffixes])

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters of each layer and direction: those of W, then U and the bias."""
        names = self._parameter_shapes()
        return [
            [*input_map.parameters(), *(getattr(self, name + suffix) for name in names)]
            for input_map, suffix in zip(self.input_maps, self._suffixes, strict=True)
        ]

    @property
    def num_input_parameters(self) -> int:
        """Parameters that stand for W, over all layers and directions; U and the bias are not counted."""
        return sum(parameter.numel() for parameter in self.input_maps.parameters())

    @property
    def num_dense_input_parameters(self) -> int:
        """Entries of the dense matrices that W stands for, over all layers and directions."""
        places = self._places({"device": None, "dtype": None})
        return self.num_directions * sum(place.in_features * place.out_features for place in places)

    # ---- the call

    def _states(self, hx: Any) -> States:
        """Take the state that the layer was called with apart.

        Raises:
            ValueError: It is not what this kind of layer carries.
        """
        raise NotImplementedError

    def _unroll(
        self, suffix: str, gates: Tensor, batch_sizes: list[int], initial: States, mask: Tensor | None, reverse: bool
    ) -> tuple[Tensor, States]:
        """Run one layer in one direction over all steps.

        Args:
            suffix: Of the names of its parameters.
            gates: (sum of batch_sizes, gates x H), W x + b of every step, step below step.
            batch_sizes: How many rows each step has.
            initial: The state before the first step, (B, H) each.
            mask: (B, H), multiplied with h_{t-1} where it enters U; None for no mask.
            reverse: Whether to read from the end.

        Returns:
            h of every step, rows as in `gates`, and the state after each sequence's last step.
        """
        raise NotImplementedError

    def _run_sequence(self, input: Any, hx: Any) -> tuple[Tensor | PackedSequence, States]:
        """Run the layers over whole sequences: `forward` of the subclasses says what is taken and returned."""
        if isinstance(input, PackedSequence):
            return self._run_packed(input, hx)
        layout, time_axis, batch_axis = ("(B, T, I)", 1, 0) if self.batch_first else ("(T, B, I)", 0, 1)
        self._check_input(input, f"{layout} or (T, I)", dims=(2, 3))
        if input.dim() == 3:
            return self._run_padded(input, self._initial(hx, input, input.shape[batch_axis]), time_axis, batch_axis)
        initial = tuple(part.unsqueeze(1) for part in self._initial(hx, input))
        output, final = self._run_padded(input.unsqueeze(batch_axis), initial, time_axis, batch_axis)
        return output.squeeze(batch_axis), tuple(part.squeeze(1) for part in final)

    def _run_padded(self, input: Tensor, initial: States, time_axis: int, batch_axis: int) -> tuple[Tensor, States]:
        time, batch = input.shape[time_axis], input.shape[batch_axis]
        if is_tracing():  # sizes are tensors then: that of the batch may stay one
            time = len(input.unbind(time_axis))
        mask = self._mask(input.select(time_axis, 0), self.input_dropout)
        data = input if mask is None else input * mask.unsqueeze(time_axis)
        flat, final = self._run_layers(data, [batch] * time, initial)
        sequence = flat.view(time, batch, self.num_directions * self.hidden_size)
        return sequence.transpose(0, 1) if self.batch_first else sequence, final

    def _run_packed(self, packed: PackedSequence, hx: Any) -> tuple[PackedSequence, States]:
        data: Tensor = packed.data
        sizes: Any = packed.batch_sizes
        # traced, sizes stay tensors, so that other sequences may have other lengths
        batch_sizes: list[int] = [*sizes.unbind()] if is_tracing() else sizes.tolist()
        self._check_input(data, "a PackedSequence of (rows, I)", dims=(2,))
        initial = _reorder(self._initial(hx, data, batch_sizes[0]), packed.sorted_indices)
        mask = self._mask(data[: batch_sizes[0]], self.input_dropout)
        if mask is not None:
            data = data * torch.cat([mask[:size] for size in batch_sizes])
        outputs, final = self._run_layers(data, batch_sizes, initial)
        output = PackedSequence(outputs, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
        return output, _reorder(final, packed.unsorted_indices)

    def _check_input(self, data: Tensor, layout: str, dims: tuple[int, ...]) -> None:
        name = type(self).__name__
        check_dtype(name, data, getattr(self, f"weight_hh{self._suffixes[0]}"))
        if is_tracing():  # a comparison of sizes would be recorded as a constant, with a warning
            return
        if data.dim() not in dims or data.shape[-1] != self.input_size:
            raise ValueError(f"{name} takes {layout} with I = {self.input_size}, got {tuple(data.shape)}")
        steps_axis = 1 if self.batch_first and data.dim() == 3 else 0
        if data.shape[steps_axis] == 0:
            raise ValueError(f"{name} takes sequences of at least one step, got a length of 0: {tuple(data.shape)}")

    def _initial(self, hx: Any, like: Tensor, *batch: int) -> States:
        """Check the given state, (layers x directions, *batch, H) each part, or make zeros of the type of `like`."""
        shape = (self.num_layers * self.num_directions, *batch, self.hidden_size)
        if hx is None:
            return tuple(like.new_zeros(shape) for _ in range(self.num_states))
        states = self._states(hx)
        for part in states:
            check_dtype(type(self).__name__, part, like, "a state")
        if not is_tracing() and any(tuple(part.shape) != shape for part in states):
            axes, given = ", B" * len(batch), [tuple(part.shape) for part in states]
            raise ValueError(f"hx must have the shape (layers x directions{axes}, H) = {shape}, got {given}")
        return states

    def _run_layers(self, data: Tensor, batch_sizes: list[int], initial: States) -> tuple[Tensor, States]:
        """Run all layers over whole sequences.

        Args:
            data: The input, padded as `forward` got it or the (rows, I) data of a PackedSequence.
            batch_sizes: How many rows each step has: see `btrnn.ops.steps.Steps`.
            initial: The state before the first step.

        Returns:
            The last layer's output, step below step, (sum of batch_sizes, H x directions), and the final state.
        """
        finals: list[States] = []
        for layer in range(self.num_layers):
            if layer > 0 and self.dropout:
                data = F.dropout(data, self.dropout, self.training)
            outputs = []
            for direction in range(self.num_directions):
                k = layer * self.num_directions + direction
                start = tuple(part[k] for part in initial)
                mask = self._mask(start[0], self.recurrent_dropout)
                output, final = self._unroll(
                    self._suffixes[k], self._gates(k, data), batch_sizes, start, mask, reverse=direction == 1
                )
                outputs.append(output)
                finals.append(final)
            data = outputs[0] if self.num_directions == 1 else torch.cat(outputs, dim=-1)
        return data, tuple(torch.stack(parts) for parts in zip(*finals, strict=True))

    def _gates(self, k: int, data: Tensor) -> Tensor:
        """Compute W x + b of one layer and direction for all steps at once."""
        gates: Tensor = self.input_maps[k](data)
        if gates.dim() == 3:  # put in order of time after the product, where a row has the gates' numbers instead of I
            gates = (gates.transpose(0, 1) if self.batch_first else gates).flatten(0, 1)
        return gates + getattr(self, f"bias{self._suffixes[k]}") if self.bias else gates

    def _mask(self, like: Tensor, probability: float) -> Tensor | None:
        """Draw a dropout mask of the shape of `like`, already scaled; None where nothing is dropped."""
        if not (self.training and probability):
            return None
        return F.dropout(torch.ones_like(like), probability)

    def extra_repr(self) -> str:
        """Describe the layer as torch does, and how many parameters stand for W."""
        return (
            f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, "
            f"bidirectional={self.bidirectional}, "
            f"W: {self.num_input_parameters:,} parameters for {self.num_dense_input_parameters:,}"
        )


def _reorder(states: Sequence[Tensor], order: Tensor | None) -> States:
    return tuple(part if order is None else part.index_select(1, order) for part in states)
