r"""LSTM layers that differ in one thing: the map from the input to the gates.

The cell (Ye et al., CVPR 2018; gate order i, f, g, o as in nn.LSTM):

    (i', f', g', o') = W x_t + U h_{t-1} + b
    c_t = sigmoid(f') * c_{t-1} + sigmoid(i') * tanh(g')
    h_t = sigmoid(o') * tanh(c_t)

`LSTM` holds W as one dense matrix of 4 H rows, `TTLSTM` as a tensor train, `BTLSTM` as block terms; U (4 H, H) is dense
in all three unless `hidden_map` says otherwise. The four gates are folded into the first output mode,
(J_1, .., J_d) -> (4 J_1, .., J_d), so one factorised W serves all gates and gate q is rows q H .. (q + 1) H of
`to_dense()`.
Deviation from nn.LSTM: one bias vector, where nn.LSTM adds two.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Unpack

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from btrnn.nn.input_map import DENSE, BlockTerm, InputMap, TensorTrain
from btrnn.nn.recurrent import Recurrent, RecurrentOptions
from btrnn.nn.stack import RecurrentInit, States
from btrnn.ops.lstm_fast import CELL
from btrnn.ops.steps import ActivationName
from btrnn.sizes import check_count, one_or_more_ranks


class LSTMState(NamedTuple):
    """The state between two time steps, each (layers x directions, B, H)."""

    hidden: Tensor
    cell: Tensor


torch.serialization.add_safe_globals([LSTMState])  # a saved state loads by torch.load once this module is imported
with suppress(ImportError):  # a private name, by which torch.export.save asks for this
    from torch.utils._pytree import _register_namedtuple

    _register_namedtuple(LSTMState, serialized_type_name="btrnn.nn.lstm.LSTMState")


class LSTMOptions(RecurrentOptions, total=False):
    """The keyword arguments that all these layers share; `LSTM` says what each is."""

    proj_size: int
    forget_bias: float | None


class LSTM(Recurrent):
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
        input_map: What W of every layer and direction is; dense if not given. See `btrnn.nn.input_map`.
        hidden_map: The same for U, from H to 4 H numbers: its `in_modes` are its `hidden_modes`.
        gate_activation: "sigmoid", or the "hard_sigmoid" of the paper's code.
        forget_bias: None draws the bias as nn.LSTM; a number sets the forget gate's part to it and the rest to 0.
        recurrent_init: "uniform" within 1/sqrt(H) as nn.LSTM, or "orthogonal" columns of a dense U.
        input_dropout: Probability of dropping an input feature; one mask serves a whole sequence.
        recurrent_dropout: The same for h_{t-1} where it enters U.
        device, dtype: Of the parameters.

    Attributes:
        input_maps: W of each layer and direction, in the order of nn.LSTM (layer 0, layer 0 reversed, layer 1, ..): a
            linear map from (.., I) to (.., 4 H), of the layers above the first from the H x directions below.
        hidden_maps: U of each, a linear map from (.., H) to (.., 4 H), where `hidden_map` is given; else empty.
        weight_hh_l0, weight_hh_l0_reverse, weight_hh_l1, ..: U of each, (4 H, H), where it is dense.
        bias_l0, bias_l0_reverse, bias_l1, ..: The bias of each, (4 H,): nn.LSTM's bias_ih + bias_hh.
        weight_hh: U of each by number, for code that takes parameters from a list.
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, mode: As nn.LSTM's.

    Raises:
        ValueError: A size below 1, a probability outside [0, 1), an unknown choice, or a projection.

    Examples:
        >>> output, (h_n, c_n) = LSTM(10, 20)(torch.zeros(7, 3, 10))
        >>> output.shape, h_n.shape
        (torch.Size([7, 3, 20]), torch.Size([1, 3, 20]))
    """

    mode = "LSTM"
    cell = CELL
    num_gates = 4
    num_states = 2

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
        input_map: InputMap = DENSE,
        hidden_map: InputMap = DENSE,
        gate_activation: ActivationName = "sigmoid",
        forget_bias: float | None = None,
        recurrent_init: RecurrentInit = "uniform",
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if proj_size != 0:
            raise ValueError(
                f"{type(self).__name__} does not project its hidden state: proj_size must be 0, got {proj_size}; an "
                f"nn.Linear({hidden_size}, {proj_size}) behind the layer makes its output smaller, and a hidden_map "
                f"of low rank makes U so"
            )
        self.proj_size, self.forget_bias = proj_size, forget_bias
        super().__init__(
            input_size,
            hidden_size,
            input_map=input_map,
            hidden_map=hidden_map,
            num_layers=num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            gate_activation=gate_activation,
            recurrent_init=recurrent_init,
            input_dropout=input_dropout,
            recurrent_dropout=recurrent_dropout,
            device=device,
            dtype=dtype,
        )

    def _draw_bias(self, bias: Tensor, bound: float) -> None:
        if self.forget_bias is None:
            super()._draw_bias(bias, bound)
        else:
            bias.zero_()
            bias[self.hidden_size : 2 * self.hidden_size] = self.forget_bias

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
        output, final = self._run_sequence(input, hx)
        return output, LSTMState(*final)

    def _states(self, hx: Any) -> States:
        """Check that this is a pair, h and c.

        Raises:
            ValueError: It is not.
        """
        if not isinstance(hx, tuple | list) or len(hx) != 2 or not all(isinstance(part, Tensor) for part in hx):
            raise ValueError(f"hx must be two tensors, h and c before the first step, got {type(hx).__name__}")
        return tuple(hx)


class TTLSTM(LSTM):
    """An LSTM whose input-to-hidden matrix is a tensor train (Yang et al., ICML 2017).

    Args:
        in_modes: I_1 .. I_d, whose product is the input size.
        hidden_modes: J_1 .. J_d, whose product is the hidden size.
        tt_rank: One inner rank, or the d - 1 inner ranks.
        options: As for `LSTM`.

    Attributes:
        in_modes, hidden_modes, tt_rank: As given, of Python's own integers.
        input_maps: A `TTLinear` for each layer and direction; `input_maps[0].cores[k]` is (r_{k-1}, I_k, J_k, r_k),
            with 4 J_1 in place of J_1.

    Raises:
        ValueError: As `TTLinear` and `LSTM`.

    Examples:
        >>> lstm = TTLSTM((8, 20, 20, 18), (4, 4, 4, 4), tt_rank=4, batch_first=True)
        >>> output, (h_n, c_n) = lstm(torch.zeros(2, 6, 57_600))
        >>> output.shape, lstm.num_input_parameters
        (torch.Size([2, 6, 256]), 3360)
    """

    def __init__(
        self,
        in_modes: Sequence[int],
        hidden_modes: Sequence[int],
        *,
        tt_rank: int | Sequence[int],
        **options: Unpack[LSTMOptions],
    ) -> None:
        self.tt_rank = one_or_more_ranks(tt_rank)
        input_map = TensorTrain(in_modes, hidden_modes, self.tt_rank)
        self.in_modes, self.hidden_modes = tuple(input_map.in_modes), tuple(input_map.hidden_modes)
        super().__init__(input_map.input_size, input_map.hidden_size, input_map=input_map, **options)


class BTLSTM(LSTM):
    """An LSTM whose input-to-hidden matrix is a sum of block terms (Ye et al., CVPR 2018).

    Args:
        in_modes: I_1 .. I_d, whose product is the input size.
        hidden_modes: J_1 .. J_d, whose product is the hidden size.
        tucker_rank: R, the size of every axis of the core tensors.
        num_blocks: N, the number of block terms.
        options: As for `LSTM`.

    Attributes:
        in_modes, hidden_modes, tucker_rank, num_blocks: As given, of Python's own integers.
        input_maps: A `BTLinear` for each layer and direction; `input_maps[0].core` is (N, R, .., R), and
            `input_maps[0].factors[k]` is (N, I_k, J_k, R), with 4 J_1 in place of J_1.

    Raises:
        ValueError: As `BTLinear` and `LSTM`.

    Examples:
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
        self.tucker_rank = check_count("tucker_rank", tucker_rank)
        input_map = BlockTerm(in_modes, hidden_modes, self.tucker_rank, num_blocks)
        self.in_modes, self.hidden_modes = tuple(input_map.in_modes), tuple(input_map.hidden_modes)
        self.num_blocks = input_map.num_blocks
        super().__init__(input_map.input_size, input_map.hidden_size, input_map=input_map, **options)
