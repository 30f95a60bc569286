r"""GRU layers that differ in one thing: the map from the input to the gates.

The cell (gate order r, z, n as in nn.GRU):

    (r', z', n') = W x_t + b,  (u_r, u_z, u_n) = U h_{t-1}
    r = sigmoid(r' + u_r),  z = sigmoid(z' + u_z),  n = tanh(n' + r * (u_n + b_hn))
    h_t = (1 - z) * n + z * h_{t-1}

As in `btrnn.nn.lstm` the gates, three here, are folded into the first output mode of a factorised W.
Deviation from nn.GRU: of its two bias vectors all that the reset gate does not scale is added to one.
"""

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from btrnn.nn.hierarchical_tucker import HierarchicalTucker
from btrnn.nn.input_map import BlockTerm, TensorTrain
from btrnn.nn.kronecker import CanonicalPolyadic, Kronecker
from btrnn.nn.low_rank import LowRank
from btrnn.nn.recurrent import Recurrent, RecurrentOptions
from btrnn.nn.stack import States
from btrnn.nn.tensor_ring import TensorRing
from btrnn.nn.tucker import Tucker
from btrnn.ops.gru_fast import CELL


class GRU(Recurrent):
    """A multi-layer gated recurrent unit with the call and the returns of nn.GRU.

    Args:
        input_size: I, features of the input.
        hidden_size: H, features of the hidden state.
        num_layers: How many layers are stacked.
        bias: Whether the gates have biases.
        batch_first: Whether batched input is (B, T, I) rather than (T, B, I).
        dropout: Probability of dropping an output between two layers.
        bidirectional: Whether a second direction reads the sequence from its end.
        input_map: What W of every layer and direction is; dense if not given. See `btrnn.nn.input_map`.
        hidden_map: The same for U, from H to 3 H numbers: its `in_modes` are its `hidden_modes`.
        gate_activation: Of r and z: "sigmoid", or the "hard_sigmoid" of the paper's code.
        recurrent_init: "uniform" within 1/sqrt(H) as nn.GRU, or "orthogonal" columns of a dense U.
        input_dropout: Probability of dropping an input feature; one mask serves a whole sequence.
        recurrent_dropout: The same for h_{t-1} where it enters U.
        device, dtype: Of the parameters.

    Attributes:
        input_maps, hidden_maps, weight_hh_l0, .., weight_hh: As of `btrnn.LSTM`, with three gates.
        bias_l0, bias_l0_reverse, bias_l1, ..: The bias of each layer and direction, (3 H,): nn.GRU's bias_ih, and added
            to it the first 2 H numbers of bias_hh.
        bias_hn_l0, bias_hn_l0_reverse, bias_hn_l1, ..: b_hn of each, (H,): the last H numbers of nn.GRU's bias_hh.
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, mode: As nn.GRU's.

    Raises:
        ValueError: A size below 1, a probability outside [0, 1), an unknown choice, or a map that does not fit.

    Examples:
        >>> output, h_n = GRU(10, 20)(torch.zeros(7, 3, 10))
        >>> output.shape, h_n.shape
        (torch.Size([7, 3, 20]), torch.Size([1, 3, 20]))
    """

    mode = "GRU"
    cell = CELL
    num_gates = 3
    num_states = 1
    proj_size = 0

    def _parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        return super()._parameter_shapes() | ({"bias_hn": (self.hidden_size,)} if self.bias else {})

    def _biases_from_torch(self, of_input: Tensor, of_hidden: Tensor) -> dict[str, Tensor]:
        added, scaled = of_hidden[: -self.hidden_size], of_hidden[-self.hidden_size :]
        return {"bias": of_input + torch.cat([added, torch.zeros_like(scaled)]), "bias_hn": scaled.clone()}

    def forward(
        self,
        input: Float[Tensor, "time batch features"] | Float[Tensor, "time features"] | PackedSequence,
        hx: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Run the layers over whole sequences; what `LSTM.forward` says of traces holds here too.

        Args:
            input: (T, B, I), or (B, T, I) with `batch_first`, or (T, I) without a batch, or a PackedSequence; T >= 1.
            hx: h before the first step, (layers x directions, B, H), without B where `input` has none; zeros if None.

        Returns:
            The last layer's hidden state at every step (directions concatenated), in the layout of `input`, and h after
            the last step.

        Raises:
            ValueError: `input` or `hx` does not have the shape or the type that this layer takes, or no steps.
        """
        output, (final,) = self._run_sequence(input, hx)
        return output, final

    def _states(self, hx: Any) -> States:
        """Check that this is one tensor, h.

        Raises:
            ValueError: It is not.
        """
        if not isinstance(hx, Tensor):
            raise ValueError(f"hx must be one tensor, h before the first step, got {type(hx).__name__}")
        return (hx,)

    def _recurrent_tensors(self, k: int, hidden_0: Tensor) -> tuple[Any, ...]:
        """Return U and b_hn."""
        return *super()._recurrent_tensors(k, hidden_0), getattr(self, f"bias_hn{self._suffixes[k]}", None)


class TTGRU(GRU):
    """A GRU whose input-to-hidden matrix is a tensor train.

    Args:
        in_modes: I_1 .. I_d, whose product is the input size.
        hidden_modes: J_1 .. J_d, whose product is the hidden size.
        tt_rank: One inner rank, or the d - 1 inner ranks.
        options: As for `GRU`.

    Raises:
        ValueError: As `TTLinear` and `GRU`.

    Examples:
        >>> output, h_n = TTGRU((4, 4), (2, 4), tt_rank=2)(torch.zeros(5, 3, 16))
        >>> output.shape, h_n.shape
        (torch.Size([5, 3, 8]), torch.Size([1, 3, 8]))
    """

    def __init__(
        self,
        in_modes: Sequence[int],
        hidden_modes: Sequence[int],
        *,
        tt_rank: int | Sequence[int],
        **options: Unpack[RecurrentOptions],
    ) -> None:
        input_map = TensorTrain(in_modes, hidden_modes, tt_rank)
        super().__init__(input_map.input_size, input_map.hidden_size, input_map=input_map, **options)


class BTGRU(GRU):
    """A GRU whose input-to-hidden matrix is a sum of block terms.

    Args:
        in_modes: I_1 .. I_d, whose product is the input size.
        hidden_modes: J_1 .. J_d, whose product is the hidden size.
        tucker_rank: R, the size of every axis of the core tensors.
        num_blocks: N, the number of block terms.
        options: As for `GRU`.

    Raises:
        ValueError: As `BTLinear` and `GRU`.

    Examples:
        >>> output, h_n = BTGRU((4, 4), (2, 4), tucker_rank=2)(torch.zeros(5, 3, 16))
        >>> output.shape, h_n.shape
        (torch.Size([5, 3, 8]), torch.Size([1, 3, 8]))
    """

    def __init__(
        self,
        in_modes: Sequence[int],
        hidden_modes: Sequence[int],
        *,
        tucker_rank: int,
        num_blocks: int = 1,
        **options: Unpack[RecurrentOptions],
    ) -> None:
        input_map = BlockTerm(in_modes, hidden_modes, tucker_rank, num_blocks)
        super().__init__(input_map.input_size, input_map.hidden_size, input_map=input_map, **options)


class TRGRU(GRU):
    """A GRU whose input-to-hidden matrix is a tensor ring; arguments and errors as those of `TRLSTM` and `GRU`."""

    def __init__(
        self,
        in_modes: Sequence[int],
        hidden_modes: Sequence[int],
        *,
        tr_rank: int | Sequence[int],
        **options: Unpack[RecurrentOptions],
    ) -> None:
        input_map = TensorRing(in_modes, hidden_modes, tr_rank)
        super().__init__(input_map.input_size, input_map.hidden_size, input_map=input_map, **options)


class CPGRU(GRU):
    """A GRU whose input-to-hidden matrix is a sum of outer products; all else as of `CPLSTM` and `GRU`."""

    def __init__(
        self, in_modes: Sequence[int], hidden_modes: Sequence[int], *, cp_rank: int, **options: Unpack[RecurrentOptions]
    ) -> None:
        input_map = CanonicalPolyadic(in_modes, hidden_modes, cp_rank)
        super().__init__(input_map.input_size, input_map.hidden_size, input_map=input_map, **options)


class KroneckerGRU(GRU):
    """A GRU whose input-to-hidden matrix is a sum of Kronecker products; all else as of `KroneckerLSTM` and `GRU`."""

    def __init__(
        self,
        in_modes: Sequence[int],
        hidden_modes: Sequence[int],
        *,
        num_terms: int,
        **options: Unpack[RecurrentOptions],
    ) -> None:
        input_map = Kronecker(in_modes, hidden_modes, num_terms)
        super().__init__(input_map.input_size, input_map.hidden_size, input_map=input_map, **options)


class TuckerGRU(GRU):
    """A GRU whose input-to-hidden matrix is a Tucker tensor; all else as of `TuckerLSTM` and `GRU`."""

    def __init__(
        self,
        in_modes: Sequence[int],
        hidden_modes: Sequence[int],
        *,
        tucker_rank: int | Sequence[int],
        **options: Unpack[RecurrentOptions],
    ) -> None:
        input_map = Tucker(in_modes, hidden_modes, tucker_rank)
        super().__init__(input_map.input_size, input_map.hidden_size, input_map=input_map, **options)


class HTGRU(GRU):
    """A GRU whose input-to-hidden matrix is a hierarchical Tucker tensor; all else as of `HTLSTM` and `GRU`."""

    def __init__(
        self,
        in_modes: Sequence[int],
        hidden_modes: Sequence[int],
        *,
        ht_rank: int,
        leaf_rank: int | None = None,
        **options: Unpack[RecurrentOptions],
    ) -> None:
        input_map = HierarchicalTucker(in_modes, hidden_modes, ht_rank, leaf_rank)
        super().__init__(input_map.input_size, input_map.hidden_size, input_map=input_map, **options)


class LowRankGRU(GRU):
    """A GRU whose input-to-hidden matrix has a low rank; all else as of `LowRankLSTM` and `GRU`."""

    def __init__(self, input_size: int, hidden_size: int, *, rank: int, **options: Unpack[RecurrentOptions]) -> None:
        super().__init__(input_size, hidden_size, input_map=LowRank(rank), **options)
