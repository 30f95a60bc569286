"""A stack of recurrent layers, in one direction or two: its maps and parameters, and one pass through all of them.

`btrnn.nn.recurrent` adds the call of torch's.
"""

from math import sqrt
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from btrnn.choices import check_choice
from btrnn.nn.checks import check_probability
from btrnn.nn.input_map import DENSE, Dense, Factory, InputMap, MapPlace, check_map
from btrnn.nn.parameters import NumberedParameters, accept_other_keys, matrix_of, reset
from btrnn.ops import recurrence, shared_batch
from btrnn.ops.steps import ActivationName, Steps
from btrnn.sizes import check_count

RecurrentInit = Literal["uniform", "orthogonal"]
States = tuple[Tensor, ...]  # what a layer carries from step to step: h and c of an LSTM


class RecurrentStack(nn.Module):
    """A stack of recurrent layers; `btrnn.LSTM` says what the arguments are.

    Attributes:
        mode: Torch's name of the kind of layer.
        cell: The ways through its steps.
        num_gates: How many gates W serves.
        num_states: How many tensors are carried from step to step.
        input_maps: W of each layer and direction: layer 0, layer 0 reversed, layer 1, and so on.
        hidden_maps: U of each, where it is not dense; else empty.
        weight_hh_l0, weight_hh_l0_reverse, weight_hh_l1, ..: U of each, (gates x H, H), where it is dense.
        bias_l0, bias_l0_reverse, bias_l1, ..: The bias of each, (gates x H,).
    """

    mode: ClassVar[str]
    cell: ClassVar[recurrence.Cell]
    num_gates: ClassVar[int]
    num_states: ClassVar[int]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        input_map: InputMap = DENSE,
        hidden_map: InputMap = DENSE,
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
        self.input_map, self.hidden_map = check_map("input_map", input_map), check_map("hidden_map", hidden_map)
        if recurrent_init == "orthogonal" and not self._has_dense_hidden_map:
            raise ValueError(f"recurrent_init='orthogonal' draws a dense U, but hidden_map is {hidden_map}")
        factory: Factory = {"device": device, "dtype": dtype}
        self.input_maps = nn.ModuleList(
            input_map.build(place) for place in self._places(factory) for _ in range(self.num_directions)
        )
        self.hidden_maps = nn.ModuleList(
            hidden_map.build(MapPlace(0, 1, self.num_gates, self.hidden_size, self.hidden_size, factory))
            for _ in ([] if self._has_dense_hidden_map else self._suffixes)
        )
        for name, shape in self._parameter_shapes().items():
            for suffix in self._suffixes:
                self.register_parameter(name + suffix, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self._draw_parameters()  # the maps have drawn theirs

    # ---- parameters

    def _places(self, factory: Factory) -> list[MapPlace]:
        """List where in the stack the maps of each layer stand."""
        above = self.hidden_size * self.num_directions
        sizes = [self.input_size, *[above] * (self.num_layers - 1)]
        return [
            MapPlace(layer, self.num_directions, self.num_gates, size, self.hidden_size, factory)
            for layer, size in enumerate(sizes)
        ]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        """Load from torch's names too: here, as a hook that did it would end with the object it was registered on."""
        accept_other_keys(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    @property
    def _has_dense_hidden_map(self) -> bool:
        return isinstance(self.hidden_map, Dense)

    def _parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each parameter beside those of the maps, by its name without layer and direction."""
        rows = self.num_gates * self.hidden_size
        weight = {"weight_hh": (rows, self.hidden_size)} if self._has_dense_hidden_map else {}
        return weight | ({"bias": (rows,)} if self.bias else {})

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

    def reset_recurrent_parameters(self) -> None:
        """Draw U and the bias anew."""
        for hidden_map in self.hidden_maps:
            reset(hidden_map)
        self._draw_parameters()

    @torch.no_grad()
    def _draw_parameters(self) -> None:
        """Draw all parameters that no map holds."""
        bound = 1 / sqrt(self.hidden_size)
        for name, parameter in self.named_parameters():  # under other names too, from which a hook computes U
            if name.startswith(("input_maps.", "hidden_maps.")):
                continue
            if "weight_hh_l" in name and self.recurrent_init == "orthogonal":
                wide = torch.promote_types(parameter.dtype, torch.float32)  # a half type has no QR decomposition
                parameter.copy_(nn.init.orthogonal_(torch.empty_like(parameter, dtype=wide)))
            elif "bias_l" in name:
                self._draw_bias(parameter, bound)
            else:
                parameter.uniform_(-bound, bound)

    def _draw_bias(self, bias: Tensor, bound: float) -> None:
        """Draw a bias of the gates; called without gradients."""
        bias.uniform_(-bound, bound)

    def _biases_from_torch(self, of_input: Tensor, of_hidden: Tensor) -> dict[str, Tensor]:
        """Return the biases of a layer and direction, by their names, that do what torch's two do."""
        return {"bias": of_input + of_hidden}

    def flatten_parameters(self) -> None:
        """Do nothing: torch's method lays the parameters out for cuDNN's layers, which this one does not call."""

    @property
    def weight_hh(self) -> NumberedParameters:
        """U of each layer and direction by number; `(layer.weight_hh, "0")` is `(layer, "weight_hh_l0")`."""
        return NumberedParameters(self, "weight_hh", [f"weight_hh{suffix}" for suffix in self._suffixes])

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters of each layer and direction: those of W, then those of U and the bias."""
        names = self._parameter_shapes()
        maps = [self.input_maps, *([] if self._has_dense_hidden_map else [self.hidden_maps])]
        return [
            [
                *(parameter for of_all in maps for parameter in of_all[k].parameters()),
                *(getattr(self, name + suffix) for name in names),
            ]
            for k, suffix in enumerate(self._suffixes)
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

    @property
    def num_hidden_parameters(self) -> int:
        """Parameters that stand for U, over all layers and directions."""
        if self._has_dense_hidden_map:
            return self.num_dense_hidden_parameters
        return sum(parameter.numel() for parameter in self.hidden_maps.parameters())

    @property
    def num_dense_hidden_parameters(self) -> int:
        """Entries of the dense matrices that U stands for, over all layers and directions."""
        return len(self._suffixes) * self.num_gates * self.hidden_size**2

    def _hidden_weight(self, k: int, hidden_0: Tensor) -> Tensor:
        """Return U of one layer and direction, (gates x H, H), for states of the device and type of `hidden_0`.

        A factorised U is reconstructed once for all steps. That costs less than to apply it at every step, whose few
        rows leave its many small products idle, and the recurrence is that of the dense layer, exactly.
        """
        if self._has_dense_hidden_map:
            weight: Tensor = getattr(self, f"weight_hh{self._suffixes[k]}")
            return weight
        return matrix_of(self.hidden_maps[k], self.hidden_size, hidden_0)

    # ---- one pass

    def _recurrent_tensors(self, k: int, hidden_0: Tensor) -> tuple[Any, ...]:
        """Return what all steps of one layer and direction need: U, (gates x H, H), and of some cells more."""
        return (self._hidden_weight(k, hidden_0),)

    def _unroll(
        self, gates: Tensor, steps: Steps, initial: States, tensors: tuple[Any, ...], mask: Tensor | None
    ) -> tuple[Tensor, States]:
        """Run one layer in one direction over all steps.

        Args:
            gates: (rows of all steps, gates x H), W x + b of every step, step below step.
            steps: Which rows each step has.
            initial: The state before the first step, (B, H) each.
            tensors: What `_recurrent_tensors` gives.
            mask: (B, H), multiplied with h_{t-1} where it enters U; None for no mask.

        Returns:
            h of every step, rows as in `gates`, and the state after each sequence's last step.
        """
        operands = self.cell.operands(gates, *initial, *tensors, mask)
        output, *final = recurrence.unroll(self.cell, steps, operands, self.gate_activation)
        return output, tuple(final)

    def _run_layers(
        self, data: Tensor, batch_sizes: list[int], initial: States, order: Tensor | None = None
    ) -> tuple[Tensor, States]:
        """Run all layers over whole sequences.

        Args:
            data: The input, padded as `forward` got it or the (rows, I) data of a PackedSequence.
            batch_sizes: How many rows each step has: see `btrnn.ops.steps.Steps`.
            initial: The state before the first step.
            order: Which row of the batch each row of the first step is; None where they are the same.

        Returns:
            The last layer's output, step below step, (sum of batch_sizes, H x directions), and the final state.
        """
        finals: list[States] = []
        for layer in range(self.num_layers):
            if layer > 0 and self.dropout:
                data = shared_batch.packed_dropout(data, self.dropout, self.training, batch_sizes, order)
            outputs = []
            for direction in range(self.num_directions):
                k = layer * self.num_directions + direction
                start, steps = tuple(part[k] for part in initial), Steps(batch_sizes, reverse=direction == 1)
                mask = self._mask(start[0], self.recurrent_dropout, order)
                tensors = self._recurrent_tensors(k, start[0])
                output, final = self._unroll(self._gates(k, data), steps, start, tensors, mask)
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

    def _mask(self, like: Tensor, probability: float, order: Tensor | None = None) -> Tensor | None:
        """Draw a scaled mask of the shape of `like`; None if nothing is dropped.

        The mask of a row belongs to its place in the batch; `order` says which each row of `like` has.
        """
        if not (self.training and probability):
            return None
        mask = shared_batch.dropout(torch.ones_like(like), probability, True)
        return mask if order is None else mask.index_select(0, order)

    def extra_repr(self) -> str:
        """Describe the layer as torch does, and how many parameters stand for W, and for U where it is not dense."""
        of_hidden = f"U: {self.num_hidden_parameters:,} parameters for {self.num_dense_hidden_parameters:,}"
        return (
            f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, "
            f"bidirectional={self.bidirectional}, "
            f"W: {self.num_input_parameters:,} parameters for {self.num_dense_input_parameters:,}"
        ) + ("" if self._has_dense_hidden_map else f", {of_hidden}")
