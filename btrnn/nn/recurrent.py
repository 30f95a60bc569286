"""The call that recurrent layers share with torch's: sequences padded or packed, in a batch or without, and states.

A kind of layer, such as `btrnn.LSTM`, adds its cell: how many gates there are, and one pass over the steps.
"""

from collections.abc import Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from btrnn.nn.input_map import InputMap
from btrnn.nn.stack import RecurrentInit, RecurrentStack, States
from btrnn.ops.dispatch import check_dtype, is_tracing
from btrnn.ops.steps import ActivationName


class RecurrentOptions(TypedDict, total=False):
    """What a recurrent layer takes beside its sizes and its input map; `btrnn.LSTM` says what each is."""

    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    hidden_map: InputMap
    gate_activation: ActivationName
    recurrent_init: RecurrentInit
    input_dropout: float
    recurrent_dropout: float
    device: torch.device | str | None
    dtype: torch.dtype | None


class Recurrent(RecurrentStack):
    """A stack of recurrent layers, in one direction or two, with the call of torch's.

    A subclass sets the class attributes, and defines `_states`; in place of `cell` it may define `_unroll`.
    `btrnn.LSTM` says what the arguments are.

    Raises:
        ValueError: A size below 1, a probability outside [0, 1), an unknown choice, or a map that does not fit.
    """

    def _states(self, hx: Any) -> States:
        """Take the state that the layer was called with apart.

        Raises:
            ValueError: It is not what this kind of layer carries.
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
        mask = self._mask(data[: batch_sizes[0]], self.input_dropout, packed.sorted_indices)
        if mask is not None:
            data = data * torch.cat([mask[:size] for size in batch_sizes])
        outputs, final = self._run_layers(data, batch_sizes, initial, packed.sorted_indices)
        output = PackedSequence(outputs, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
        return output, _reorder(final, packed.unsorted_indices)

    def _any_parameter(self) -> Tensor | None:
        """Return a tensor of the type that all parameters have; None where none can be found."""
        name = next(iter(self._parameter_shapes()), None)
        if name is None:
            return next(self.parameters(), None)
        parameter: Tensor = getattr(self, f"{name}_l0")  # which a replica of nn.DataParallel has, and does not list
        return parameter

    def _check_input(self, data: Tensor, layout: str, dims: tuple[int, ...]) -> None:
        name = type(self).__name__
        parameter = self._any_parameter()
        check_dtype(name, data, data if parameter is None else parameter)
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


def _reorder(states: Sequence[Tensor], order: Tensor | None) -> States:
    return tuple(part if order is None else part.index_select(1, order) for part in states)
