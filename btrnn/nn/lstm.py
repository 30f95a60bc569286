r"""LSTM layers that differ in one thing: the map from the input to the gates.

The cell (Ye et al., CVPR 2018, equations 1 and 2; gate order i, f, g, o as in nn.LSTM):

    (i', f', g', o') = W x_t + U h_{t-1} + b
    c_t = sigmoid(f') * c_{t-1} + sigmoid(i') * tanh(g')
    h_t = sigmoid(o') * tanh(c_t)

`LSTM` holds W as one dense matrix of 4 H rows, `TTLSTM` as a tensor train, `BTLSTM` as block terms; U (4 H, H) and b
stay dense in all three. The four gates are folded into the first output mode, (J_1, .., J_d) -> (4 J_1, .., J_d), so
one factorised W serves all gates and gate q is rows q H .. (q + 1) H of `to_dense()`.
Deviation from nn.LSTM: one bias vector, where nn.LSTM adds two.
"""

from collections.abc import Sequence
from math import prod, sqrt
from numbers import Real
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from btrnn.complexity import check_count, check_modes, one_or_more_ranks
from btrnn.nn.initialisation import DENSE_PAPER_STD, InitName, truncated_normal_
from btrnn.nn.linear import BTLinear, TTLinear
from btrnn.nn.parameters import NumberedParameters, to_fill
from btrnn.ops.dispatch import check_dtype, is_tracing
from btrnn.ops.lstm_fast import unroll
from btrnn.ops.matmul import product


class LSTMState(NamedTuple):
    """The state between two time steps, each (layers x directions, B, H)."""

    hidden: Tensor
    cell: Tensor


torch.serialization.add_safe_globals([LSTMState])  # a saved state loads as nn.LSTM's pair of tensors does


class LSTMOptions(TypedDict, total=False):
    """The keyword arguments that all three layers share; `LSTM` says what each is."""

    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    proj_size: int
    gate_activation: Literal["sigmoid", "hard_sigmoid"]
    forget_bias: float | None
    recurrent_init: Literal["uniform", "orthogonal"]
    input_dropout: float
    recurrent_dropout: float
    init: InitName
    device: torch.device | str | None
    dtype: torch.dtype | None


class LSTM(nn.Module):
    """A multi-layer LSTM with the call and the returns of nn.LSTM.

    Args:
        input_size: I, features of the input.
        hidden_size: H, features of the hidden state.
        num_layers: How many layers are stacked.
        bias: Whether the gates have a bias, one vector a layer and direction.
        batch_first: Whether batched input is (B, T, I) rather than (T, B, I).
        dropout: Probability of dropping an output between two layers.
        bidirectional: Whether a second direction reads the sequence from its end.
        proj_size: nn.LSTM's size of a projection of h_t, which this layer does not have: 0 only.
        gate_activation: "sigmoid", or the "hard_sigmoid" of the paper's code.
        forget_bias: None draws the bias as nn.LSTM; a number sets the forget gate's part to it and the rest to 0.
        recurrent_init: "uniform" within 1/sqrt(H) as nn.LSTM, or "orthogonal" columns.
        input_dropout: Probability of dropping an input feature; one mask serves a whole sequence.
        recurrent_dropout: The same for h_{t-1} where it enters U.
        init: "default" gives W the scale of nn.Linear's (see `TTLinear.reset_parameters`); "paper" the released code's.
        device, dtype: Of the parameters.

    Attributes:
        input_maps: W of each layer and direction, in the order of nn.LSTM (layer 0, layer 0 reversed, layer 1, ..): a
            linear map from (.., I) to (.., 4 H), of the layers above the first from the H x directions below.
        weight_hh_l0, weight_hh_l0_reverse, weight_hh_l1, ..: U of each, (4 H, H).
        bias_l0, bias_l0_reverse, bias_l1, ..: The bias of each, (4 H,): nn.LSTM's bias_ih + bias_hh.
        weight_hh: U of each by number, for code that takes parameters from a list.
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, mode: As nn.LSTM's.

    Raises:
        ValueError: A size below 1, a probability outside [0, 1), an unknown choice, or a projection.

    Example:
        >>> output, (h_n, c_n) = LSTM(10, 20)(torch.zeros(7, 3, 10))
        >>> output.shape, h_n.shape
        (torch.Size([7, 3, 20]), torch.Size([1, 3, 20]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        gate_activation: Literal["sigmoid", "hard_sigmoid"] = "sigmoid",
        forget_bias: float | None = None,
        recurrent_init: Literal["uniform", "orthogonal"] = "uniform",
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        init: InitName = "default",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        input_size = check_count("input_size", input_size)
        hidden_size = check_count("hidden_size", hidden_size)
        num_layers = check_count("num_layers", num_layers)
        probabilities = {
            "dropout": dropout,
            "input_dropout": input_dropout,
            "recurrent_dropout": recurrent_dropout,
        }
        for name, probability in probabilities.items():
            is_number = isinstance(probability, Real) and not isinstance(probability, bool)
            if not (is_number and 0 <= probability < 1):
                raise ValueError(f"{name} must be a probability in [0, 1), got {probability!r}")
        _check_choice("gate_activation", gate_activation, ("sigmoid", "hard_sigmoid"))
        _check_choice("recurrent_init", recurrent_init, ("uniform", "orthogonal"))
        _check_choice("init", init, ("default", "paper"))
        if proj_size != 0:
            raise ValueError(
                f"{type(self).__name__} does not project its hidden state: proj_size must be 0, got {proj_size}; an "
                f"nn.Linear({hidden_size}, {proj_size}) behind the layer makes its output smaller"
            )
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        self.proj_size, self.mode = proj_size, "LSTM"
        self.dropout, self.input_dropout, self.recurrent_dropout = dropout, input_dropout, recurrent_dropout
        self.gate_activation, self.recurrent_init, self.forget_bias = gate_activation, recurrent_init, forget_bias
        self.num_directions = 2 if bidirectional else 1
        self.input_maps = nn.ModuleList(
            self._make_input_map(layer, init, device, dtype)
            for layer in range(num_layers)
            for _ in range(self.num_directions)
        )
        shapes = {"weight_hh": (4 * hidden_size, hidden_size)} | ({"bias": (4 * hidden_size,)} if bias else {})
        for name, shape in shapes.items():
            for suffix in self._suffixes:
                self.register_parameter(name + suffix, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self._reset_recurrent_parameters()
        self.register_load_state_dict_pre_hook(_accept_other_keys)  # type: ignore[no-untyped-call]

    def _make_input_map(
        self, layer: int, init: InitName, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> nn.Module:
        """Make W of one layer and direction. The one place in which the three models differ."""
        in_features = self.input_size if layer == 0 else self.hidden_size * self.num_directions
        return _DenseMap(in_features, 4 * self.hidden_size, init, device, dtype)

    def reset_parameters(self) -> None:
        """Draw all parameters anew, W, U and the bias, by the choices that the layer was made with."""
        for input_map in self.input_maps:
            input_map.reset_parameters()  # type: ignore[operator]
        self._reset_recurrent_parameters()

    @torch.no_grad()
    def _reset_recurrent_parameters(self) -> None:
        bound = 1 / sqrt(self.hidden_size)
        for name, parameter in self.named_parameters():  # under other names too, from which a hook computes U
            is_weight, is_bias = "weight_hh_l" in name, "bias_l" in name
            if is_weight and self.recurrent_init == "orthogonal":
                nn.init.orthogonal_(parameter)
            elif is_bias and self.forget_bias is not None:
                parameter.zero_()
                parameter[self.hidden_size : 2 * self.hidden_size] = self.forget_bias
            elif is_weight or is_bias:
                parameter.uniform_(-bound, bound)

    def flatten_parameters(self) -> None:
        """Do nothing: nn.LSTM's method lays the parameters out for cuDNN's LSTM, which this layer does not call."""

    @property
    def _suffixes(self) -> list[str]:
        """What nn.LSTM appends to the names of the parameters of each layer and direction."""
        directions = ("", "_reverse")[: self.num_directions]
        return [f"_l{layer}{direction}" for layer in range(self.num_layers) for direction in directions]

    @property
    def weight_hh(self) -> NumberedParameters:
        """U of each layer and direction by number; `(layer.weight_hh, "0")` is `(layer, "weight_hh_l0")`."""
        return NumberedParameters(self, "weight_hh", [f"weight_hh{suffix}" for suffix in self._suffixes])

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters of each layer and direction: those of W, then U and the bias."""
        names = ("weight_hh", "bias") if self.bias else ("weight_hh",)
        return [
            [*input_map.parameters(), *(getattr(self, name + suffix) for name in names)]
            for input_map, suffix in zip(self.input_maps, self._suffixes, strict=True)
        ]

    @property
    def num_input_parameters(self) -> int:
        """Parameters that stand for W, over all layers and directions; U and the bias are not counted."""
        return sum(parameter.numel() for parameter in self.input_maps.parameters())

    def forward(
        self,
        input: Float[Tensor, "time batch features"] | Float[Tensor, "time features"] | PackedSequence,
        hx: LSTMState | tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor | PackedSequence, LSTMState]:
        """Run the layers over whole sequences.

        torch.jit.trace, and the exporter to ONNX that uses it, record the steps one after the other: a trace takes any
        batch size, but only sequences of the length that it was made with (packed, of the greatest length).

        Args:
            input: (T, B, I), or (B, T, I) with `batch_first`, or (T, I) without a batch, or a PackedSequence; T >= 1.
            hx: The state before the first step, h and c, (layers x directions, B, H) each, without B where `input` has
                none; zeros if None.

        Returns:
            The last layer's hidden state at every step (directions concatenated), in the layout of `input`, and the
            state after the last step.

        Raises:
            ValueError: `input` or `hx` does not have the shape or the type that this layer takes, or no steps.
        """
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        layout, time_axis, batch_axis = ("(B, T, I)", 1, 0) if self.batch_first else ("(T, B, I)", 0, 1)
        self._check_input(input, f"{layout} or (T, I)", dims=(2, 3))
        if input.dim() == 2:
            initial = LSTMState(*(part.unsqueeze(1) for part in self._initial(hx, input)))
            sequence, (hidden, cell) = self.forward(input.unsqueeze(batch_axis), initial)
            assert isinstance(sequence, Tensor)
            return sequence.squeeze(batch_axis), LSTMState(hidden.squeeze(1), cell.squeeze(1))
        time, batch = input.shape[time_axis], input.shape[batch_axis]
        if is_tracing():  # sizes are tensors then: that of the batch may stay one
            time = len(input.unbind(time_axis))
        initial = self._initial(hx, input, batch)
        mask = self._mask(input.select(time_axis, 0), self.input_dropout)
        data = input if mask is None else input * mask.unsqueeze(time_axis)
        flat, final = self._run(data, [batch] * time, initial)
        sequence = flat.view(time, batch, self.num_directions * self.hidden_size)
        return sequence.transpose(0, 1) if self.batch_first else sequence, final

    def _forward_packed(
        self, packed: PackedSequence, hx: LSTMState | tuple[Tensor, Tensor] | None
    ) -> tuple[PackedSequence, LSTMState]:
        data: Tensor = packed.data
        sizes: Any = packed.batch_sizes
        # traced, sizes stay tensors, so that other sequences may have other lengths
        batch_sizes: list[int] = [*sizes.unbind()] if is_tracing() else sizes.tolist()
        self._check_input(data, "a PackedSequence of (rows, I)", dims=(2,))
        initial = _reorder(self._initial(hx, data, batch_sizes[0]), packed.sorted_indices)
        mask = self._mask(data[: batch_sizes[0]], self.input_dropout)
        if mask is not None:
            data = data * torch.cat([mask[:size] for size in batch_sizes])
        outputs, final = self._run(data, batch_sizes, initial)
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

    def _initial(self, hx: LSTMState | tuple[Tensor, Tensor] | None, like: Tensor, *batch: int) -> LSTMState:
        """Check the given state, (layers x directions, *batch, H) each, or make zeros of the type of `like`."""
        shape = (self.num_layers * self.num_directions, *batch, self.hidden_size)
        if hx is None:
            return LSTMState(like.new_zeros(shape), like.new_zeros(shape))
        if not isinstance(hx, tuple | list) or len(hx) != 2 or not all(isinstance(part, Tensor) for part in hx):
            raise ValueError(f"hx must be two tensors, h and c before the first step, got {type(hx).__name__}")
        for part in hx:
            check_dtype(type(self).__name__, part, like, "a state")
        if not is_tracing() and any(tuple(part.shape) != shape for part in hx):
            axes, given = ", B" * len(batch), [tuple(part.shape) for part in hx]
            raise ValueError(f"hx must be two tensors of shape (layers x directions{axes}, H) = {shape}, got {given}")
        return LSTMState(*hx)

    def _run(self, data: Tensor, batch_sizes: list[int], initial: LSTMState) -> tuple[Tensor, LSTMState]:
        """Run all layers over whole sequences.

        Args:
            data: The input, padded as `forward` got it or the (rows, I) data of a PackedSequence.
            batch_sizes: How many rows each step has. As in PackedSequence, step t has a row for each sequence of at
                least t + 1 steps, longest first; in a padded batch every step has all rows.
            initial: The state before the first step.

        Returns:
            The last layer's output, step below step, (sum of batch_sizes, H x directions), and the final state.
        """
        finals: list[LSTMState] = []
        for layer in range(self.num_layers):
            if layer > 0 and self.dropout:
                data = F.dropout(data, self.dropout, self.training)
            outputs = []
            for direction in range(self.num_directions):
                k = layer * self.num_directions + direction
                output, final = self._unroll(k, data, batch_sizes, initial, reverse=direction == 1)
                outputs.append(output)
                finals.append(final)
            data = outputs[0] if self.num_directions == 1 else torch.cat(outputs, dim=-1)
        hidden, cell = zip(*finals, strict=True)
        return data, LSTMState(torch.stack(hidden), torch.stack(cell))

    def _unroll(
        self, k: int, data: Tensor, batch_sizes: list[int], initial: LSTMState, reverse: bool
    ) -> tuple[Tensor, LSTMState]:
        """Run one layer in one direction: the input product for all steps at once, then the recurrence."""
        gates = self.input_maps[k](data)
        if gates.dim() == 3:  # put in order of time after the product, where a row has 4 H numbers instead of I
            gates = (gates.transpose(0, 1) if self.batch_first else gates).flatten(0, 1)
        suffix = self._suffixes[k]
        if self.bias:
            gates = gates + getattr(self, f"bias{suffix}")
        hidden_0, cell_0 = initial.hidden[k], initial.cell[k]
        mask = self._mask(hidden_0, self.recurrent_dropout)
        weight, activation = getattr(self, f"weight_hh{suffix}"), self.gate_activation
        outputs, *final = unroll(gates, batch_sizes, hidden_0, cell_0, weight, mask, activation, reverse)
        return outputs, LSTMState(*final)

    def _mask(self, like: Tensor, probability: float) -> Tensor | None:
        """Draw a dropout mask of the shape of `like`, already scaled; None where nothing is dropped."""
        if not (self.training and probability):
            return None
        return F.dropout(torch.ones_like(like), probability)

    def extra_repr(self) -> str:
        """Describe the layer as nn.LSTM does, and how many parameters stand for W."""
        dense = sum(
            4 * self.hidden_size * (self.input_size if layer == 0 else self.hidden_size * self.num_directions)
            for layer in range(self.num_layers)
            for _ in range(self.num_directions)
        )
        return (
            f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, "
            f"bidirectional={self.bidirectional}, W: {self.num_input_parameters:,} parameters for {dense:,}"
        )


class _DenseMap(nn.Linear):
    """nn.Linear without a bias, by the faster of torch's matrix products."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        init: InitName,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        self.init = init
        super().__init__(in_features, out_features, bias=False, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw W anew, as nn.Linear or as the paper's code."""
        with to_fill([(self, "weight")]) as (weight,):
            nn.init.kaiming_uniform_(weight, a=sqrt(5))  # as nn.Linear
            if self.init == "paper":
                truncated_normal_(weight, DENSE_PAPER_STD)

    def forward(self, x: Float[Tensor, "*batch in_features"]) -> Float[Tensor, "*batch out_features"]:
        """Compute W x for every vector of `x`."""
        rows = x.reshape(-1, self.in_features)
        return product(rows, self.weight.t()).reshape(*x.shape[:-1], self.out_features)


class _FactorisedLSTM(LSTM):
    """What TTLSTM and BTLSTM share: how modes become the modes of each layer's map."""

    in_modes: tuple[int, ...]
    hidden_modes: tuple[int, ...]

    def _modes(self, layer: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the input and output modes of a layer: the gates folded into the first output mode."""
        first, *rest = self.hidden_modes
        in_modes = self.in_modes if layer == 0 else (first * self.num_directions, *rest)
        return in_modes, (4 * first, *rest)


class TTLSTM(_FactorisedLSTM):
    """An LSTM whose input-to-hidden matrix is a tensor train (Yang et al., ICML 2017).

    Args:
        in_modes: I_1 .. I_d, whose product is the input size.
        hidden_modes: J_1 .. J_d, whose product is the hidden size.
        tt_rank: One inner rank, or the d - 1 inner ranks.
        options: As for `LSTM`.

    Raises:
        ValueError: As `TTLinear` and `LSTM`.
    """

    def __init__(
        self,
        in_modes: Sequence[int],
        hidden_modes: Sequence[int],
        *,
        tt_rank: int | Sequence[int],
        **options: Unpack[LSTMOptions],
    ) -> None:
        self.in_modes, self.hidden_modes = check_modes(in_modes, hidden_modes, "hidden_modes")
        self.tt_rank = one_or_more_ranks(tt_rank)
        super().__init__(prod(self.in_modes), prod(self.hidden_modes), **options)

    def _make_input_map(
        self, layer: int, init: InitName, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> nn.Module:
        in_modes, out_modes = self._modes(layer)
        rank = self.tt_rank
        return TTLinear(in_modes, out_modes, tt_rank=rank, bias=False, init=init, device=device, dtype=dtype)


class BTLSTM(_FactorisedLSTM):
    """An LSTM whose input-to-hidden matrix is a sum of block terms (Ye et al., CVPR 2018).

    Args:
        in_modes: I_1 .. I_d, whose product is the input size.
        hidden_modes: J_1 .. J_d, whose product is the hidden size.
        tucker_rank: R, the size of every axis of the core tensors.
        num_blocks: N, the number of block terms.
        options: As for `LSTM`.

    Raises:
        ValueError: As `BTLinear` and `LSTM`.

    Example:
        >>> lstm = BTLSTM((8, 20, 20, 18), (4, 4, 4, 4), tucker_rank=4, num_blocks=2, batch_first=True)
        >>> output, (h_n, c_n) = lstm(torch.zeros(2, 6, 57_600))
        >>> output.shape, lstm.num_input_parameters
        (torch.Size([2, 6, 256]), 3392)
    """

    def __init__(
        self,
        in_modes: Sequence[int],
        hidden_modes: Sequence[int],
        *,
        tucker_rank: int,
        num_blocks: int = 1,
        **options: Unpack[LSTMOptions],
    ) -> None:
        self.in_modes, self.hidden_modes = check_modes(in_modes, hidden_modes, "hidden_modes")
        self.tucker_rank = check_count("tucker_rank", tucker_rank)
        self.num_blocks = check_count("num_blocks", num_blocks)
        super().__init__(prod(self.in_modes), prod(self.hidden_modes), **options)

    def _make_input_map(
        self, layer: int, init: InitName, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> nn.Module:
        in_modes, out_modes = self._modes(layer)
        return BTLinear(
            in_modes,
            out_modes,
            tucker_rank=self.tucker_rank,
            num_blocks=self.num_blocks,
            bias=False,
            init=init,
            device=device,
            dtype=dtype,
        )


def _reorder(state: LSTMState, order: Tensor | None) -> LSTMState:
    if order is None:
        return state
    return LSTMState(state.hidden.index_select(1, order), state.cell.index_select(1, order))


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def _accept_other_keys(module: LSTM, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Rename parameters in `state_dict` that have nn.LSTM's names, or this layer's earlier ones (weight_hh.0, bias.0).

    nn.LSTM's two bias vectors are added. A factorised map has nothing of the name that its weight_ih is given, so
    load_state_dict names it as unexpected there.
    """
    for k, suffix in enumerate(module._suffixes):
        for old, new in (
            (f"weight_ih{suffix}", f"input_maps.{k}.weight"),
            (f"weight_hh.{k}", f"weight_hh{suffix}"),
            (f"bias.{k}", f"bias{suffix}"),
        ):
            for rest in ("", "_orig", "_mask"):  # the last two where it is pruned
                if prefix + old + rest in state_dict:
                    state_dict[prefix + new + rest] = state_dict.pop(prefix + old + rest)
        both = [f"{prefix}bias_{kind}{suffix}" for kind in ("ih", "hh")]
        if all(name in state_dict for name in both):
            state_dict[f"{prefix}bias{suffix}"] = state_dict.pop(both[0]) + state_dict.pop(both[1])
