"""The maps from the input to the gates, as objects: what a recurrent layer's W is made of, and how large.

A recurrent layer is given one such object, and asks it for the module that computes W x in each of its layers and
directions. `Dense`, `TensorTrain` and `BlockTerm` are the paper's, each further form has a module of its own
(`btrnn.nn.tensor_ring` and so on); a map of one's own is a class with `build`:

    @dataclass(frozen=True)
    class Bottleneck(InputMap):
        size: int

        def build(self, place: MapPlace) -> nn.Module:
            down = nn.Linear(place.in_features, self.size, bias=False, **place.factory)
            return nn.Sequential(down, nn.Linear(self.size, place.out_features, bias=False, **place.factory))

    layer = LSTM(57_600, 256, input_map=Bottleneck(4))
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, NamedTuple, Protocol, TypedDict, runtime_checkable

import torch
from torch import Tensor, nn

from btrnn.nn.dense_map import DenseMap
from btrnn.nn.factorised import FactorisedLinear
from btrnn.nn.linear import BTLinear, TTLinear
from btrnn.sizes import check_count, check_modes, one_or_more_ranks


class Factory(TypedDict):
    """Keyword arguments with which torch's modules make their parameters."""

    device: torch.device | str | None
    dtype: torch.dtype | None


class MapPlace(NamedTuple):
    """Where a map stands in a stack of recurrent layers, and what its parameters are.

    layer: Which layer, 0 for the lowest, and for a hidden map wherever it stands.
    num_directions: 1, or 2 where the layers are bidirectional.
    num_gates: How many gates W serves, 4 of an LSTM; gate q is rows q H .. (q + 1) H.
    in_features: What the map reads: I, above the lowest layer the H x directions of the one below, a hidden map H.
    hidden_size: H.
    factory: The parameters' device and type.
    """

    layer: int
    num_directions: int
    num_gates: int
    in_features: int
    hidden_size: int
    factory: Factory

    @property
    def out_features(self) -> int:
        """The rows of W."""
        return self.num_gates * self.hidden_size


class MapFacts(NamedTuple):
    """What a table says of a map; a map without modes or ranks leaves them out.

    in_modes: I_1 .. I_d of the first layer.
    hidden_modes: J_1 .. J_d.
    rank: One number, or one for each place.
    num_blocks: How many terms are summed.
    """

    in_modes: Sequence[int] = ()
    hidden_modes: Sequence[int] = ()
    rank: int | Sequence[int] | None = None
    num_blocks: int | None = None

    @property
    def order(self) -> int | None:
        """How many modes there are; None where there are none."""
        return len(self.in_modes) or None


@runtime_checkable
class InputMap(Protocol):
    """What makes W of every layer and direction of a recurrent layer."""

    def build(self, place: MapPlace) -> nn.Module:
        """Make W of one layer and direction.

        Returns:
            A module that maps (.., in_features) to (.., out_features), without bias.

        Raises:
            ValueError: The map does not fit the layer's sizes.
        """
        ...

    def from_dense(self, place: MapPlace, weight: Tensor, bias: Tensor | None = None) -> nn.Module:  # noqa: ARG002
        """Make W of one layer and direction so that it is near to a dense one: `btrnn.compress` calls this.

        Args:
            place: Where it stands.
            weight: (out_features, in_features), laid out as nn.Linear.weight, of the place's device and type.
            bias: (out_features,), of an nn.Linear that is replaced; None for a map without bias.

        Returns:
            A module as `build` makes, with `to_dense()`, which gives W, and with the bias if there is one.

        Raises:
            ValueError: The map does not fit the sizes, or has no way to be made from a matrix.
        """
        raise ValueError(f"{type(self).__name__} has no way from a dense matrix: it must define from_dense")

    def facts(self) -> MapFacts:
        """Return what a table says of the map."""
        return MapFacts()


def check_map(name: str, value: Any) -> InputMap:
    """Return a map as it is.

    Raises:
        ValueError: It is none: something without `build`, or a class in place of an object.
    """
    if isinstance(value, type) or not hasattr(value, "build"):
        raise ValueError(f"{name} must be a map such as BlockTerm(..), got {value!r}")
    known: InputMap = value
    return known


@dataclass(frozen=True)
class Dense(InputMap):
    """One dense matrix, as in nn.LSTM."""

    def build(self, place: MapPlace) -> nn.Module:
        """Make a matrix of as many rows as the gates have numbers."""
        return DenseMap(place.in_features, place.out_features, **place.factory)


@dataclass(frozen=True)
class FactorisedMap(InputMap):
    """What maps with modes share.

    Args:
        in_modes: I_1 .. I_d, whose product is the input size.
        hidden_modes: J_1 .. J_d, whose product is the hidden size.
    """

    in_modes: Sequence[int]
    hidden_modes: Sequence[int]
    linear: ClassVar[Any]  # the kind of `FactorisedLinear` that W is
    paired: ClassVar[bool] = True  # whether mode k of the input belongs to mode k of the output
    fewest: ClassVar[int] = 1  # how many modes there must be

    def __post_init__(self) -> None:
        in_modes, hidden_modes = check_modes(
            self.in_modes, self.hidden_modes, "hidden_modes", paired=self.paired, fewest=self.fewest
        )
        object.__setattr__(self, "in_modes", in_modes)  # the only way to complete what is frozen
        object.__setattr__(self, "hidden_modes", hidden_modes)

    @property
    def input_size(self) -> int:
        """I."""
        return prod(self.in_modes)

    @property
    def hidden_size(self) -> int:
        """H."""
        return prod(self.hidden_modes)

    def modes(self, place: MapPlace) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the input and output modes of a layer, with the gates folded into the first output mode.

        Above the lowest layer the input has the hidden modes, the first times the directions.

        Raises:
            ValueError: They do not multiply to the layer's sizes.
        """
        first, *rest = self.hidden_modes
        in_modes = tuple(self.in_modes) if place.layer == 0 else (first * place.num_directions, *rest)
        if (prod(in_modes), self.hidden_size) != (place.in_features, place.hidden_size):
            raise ValueError(
                f"in_modes {in_modes} and hidden_modes {self.hidden_modes} multiply to {prod(in_modes)} and "
                f"{self.hidden_size}, but the layer's sizes are {place.in_features} and {place.hidden_size}"
            )
        return in_modes, (place.num_gates * first, *rest)

    @property
    def ranks(self) -> dict[str, Any]:
        """The arguments of `linear` that, with the modes, say which map it is."""
        raise NotImplementedError

    def ranks_of(self, place: MapPlace) -> dict[str, Any]:  # noqa: ARG002
        """Return those of the map that stands there."""
        return self.ranks

    def build(self, place: MapPlace) -> FactorisedLinear:
        """Make a map of the layer's modes, with numbers drawn anew."""
        made: FactorisedLinear = self.linear(*self.modes(place), **self.ranks_of(place), bias=False, **place.factory)
        return made

    def from_dense(self, place: MapPlace, weight: Tensor, bias: Tensor | None = None) -> FactorisedLinear:
        """Make the map of the layer's modes that is near to W: see `from_dense` of its kind."""
        made: FactorisedLinear = self.linear.from_dense(weight, *self.modes(place), **self.ranks_of(place), bias=bias)
        return made

    def facts(self) -> MapFacts:
        """Return modes, and rank and blocks where the map has them."""
        rank, num_blocks = (getattr(self, name, None) for name in ("rank", "num_blocks"))
        return MapFacts(self.in_modes, self.hidden_modes, rank, num_blocks)


@dataclass(frozen=True)
class TensorTrain(FactorisedMap):
    """A tensor train (Yang et al., ICML 2017): `TTLinear` in every layer and direction.

    Args:
        in_modes: I_1 .. I_d, whose product is the input size.
        hidden_modes: J_1 .. J_d, whose product is the hidden size.
        rank: One inner TT-rank, or the d - 1 inner ranks.

    Raises:
        ValueError: Modes of different length, or a mode or rank below 1.
    """

    rank: int | Sequence[int]
    linear = TTLinear

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "rank", one_or_more_ranks(self.rank))

    @property
    def ranks(self) -> dict[str, Any]:
        """The TT-ranks."""
        return {"tt_rank": self.rank}


@dataclass(frozen=True)
class BlockTerm(FactorisedMap):
    """A sum of block terms (Ye et al., CVPR 2018): `BTLinear` in every layer and direction.

    Args:
        in_modes: I_1 .. I_d, whose product is the input size.
        hidden_modes: J_1 .. J_d, whose product is the hidden size.
        rank: R, the size of every axis of the core tensors.
        num_blocks: N, the number of block terms.

    Raises:
        ValueError: Modes of different length, or a mode, the rank or the block count below 1.
    """

    rank: int
    num_blocks: int = 1
    linear = BTLinear

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "rank", check_count("rank", self.rank))
        object.__setattr__(self, "num_blocks", check_count("num_blocks", self.num_blocks))

    @property
    def ranks(self) -> dict[str, Any]:
        """R and N."""
        return {"tucker_rank": self.rank, "num_blocks": self.num_blocks}


DENSE = Dense()
