"""Maps of which a part is never trained, as rivals of the factorised ones: what do fewer trained numbers of W cost?

In the lowest layer W is a fixed map from the input to fewer values, and a dense one from those to the gates; or it is a
factorised map that stays as it was drawn; or nothing of the input arrives.
"""

from dataclasses import dataclass
from math import prod, sqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn

from btrnn.nn.dense_map import DenseMap
from btrnn.nn.input_map import DENSE, InputMap, MapFacts, MapPlace


class AveragedMap(nn.Module):
    """A dense map of a picture whose pixels are averaged over squares.

    Args:
        height, width, channels: Of the picture, a vector row-major over these.
        side: Of a square, in pixels; it divides height and width.
        dense: From the averages, row-major as well, to the output.
    """

    def __init__(self, height: int, width: int, channels: int, side: int, dense: nn.Module) -> None:
        super().__init__()
        self.squares = (height // side, side, width // side, side, channels)
        self.dense = dense

    def forward(self, x: Float[Tensor, "*batch in_features"]) -> Float[Tensor, "*batch out_features"]:
        """Compute W x for every vector of `x`."""
        pixels = x.reshape(-1, *self.squares)
        output: Tensor = self.dense(pixels.mean(dim=(2, 4)).flatten(1))
        return output.reshape(*x.shape[:-1], output.shape[-1])


class ProjectedMap(nn.Module):
    """A dense map of a fixed random projection.

    Args:
        projection: (I, values). It is no parameter and not saved either: the configuration has the seed that drew it.
        dense: From the values to the output.
    """

    projection: Tensor

    def __init__(self, projection: Float[Tensor, "in_features values"], dense: nn.Module) -> None:
        super().__init__()
        self.register_buffer("projection", projection, persistent=False)
        self.dense = dense

    def forward(self, x: Float[Tensor, "*batch in_features"]) -> Float[Tensor, "*batch out_features"]:
        """Compute W x for every vector of `x`."""
        output: Tensor = self.dense(x @ self.projection)
        return output


@dataclass(frozen=True)
class Averaged(InputMap):
    """Averages over squares of a picture, then a dense map; dense above the lowest layer.

    Args:
        side: Of a square, in pixels.
        height, width, channels: Of the picture.

    Raises:
        ValueError: `side` does not divide height and width.
    """

    side: int
    height: int = 120
    width: int = 160
    channels: int = 3

    def __post_init__(self) -> None:
        if self.side < 1 or self.height % self.side or self.width % self.side:
            raise ValueError(f"side must divide height {self.height} and width {self.width}, got {self.side}")

    @property
    def num_values(self) -> int:
        """How many numbers the averages are."""
        return prod((self.height // self.side, self.width // self.side, self.channels))

    def build(self, place: MapPlace) -> nn.Module:
        """Make the map, with a dense part drawn anew.

        Raises:
            ValueError: The layer does not read such a picture.
        """
        if place.layer > 0:
            return DENSE.build(place)
        size = (self.height, self.width, self.channels)
        if prod(size) != place.in_features:
            raise ValueError(f"a picture of {size} has {prod(size)} values, but the layer reads {place.in_features}")
        return AveragedMap(*size, self.side, DenseMap(self.num_values, place.out_features, **place.factory))

    def facts(self) -> MapFacts:
        """Return how many values the dense part reads, as the rank of W."""
        return MapFacts(rank=self.num_values)


@dataclass(frozen=True)
class Projected(InputMap):
    """A random projection that is never trained, then a dense map; dense above the lowest layer.

    The projection's numbers are normal with variance 1/I, so that its values have the size of the input.

    Args:
        num_values: To how many values it projects.
        seed: Of the projection.

    Raises:
        ValueError: `num_values` is below 1.
    """

    num_values: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_values < 1:
            raise ValueError(f"num_values must be at least 1, got {self.num_values}")

    def build(self, place: MapPlace) -> nn.Module:
        """Make the map, with a dense part drawn anew."""
        if place.layer > 0:
            return DENSE.build(place)
        drawn = torch.randn(
            place.in_features, self.num_values, generator=torch.Generator().manual_seed(self.seed), dtype=torch.float64
        )
        projection = (drawn / sqrt(place.in_features)).to(
            place.factory["device"], place.factory["dtype"] or torch.get_default_dtype()
        )
        return ProjectedMap(projection, DenseMap(self.num_values, place.out_features, **place.factory))

    def facts(self) -> MapFacts:
        """Return how many values the dense part reads, as the rank of W."""
        return MapFacts(rank=self.num_values)


@dataclass(frozen=True)
class Frozen(InputMap):
    """A map that stays as it was drawn.

    Args:
        of: Which.
    """

    of: InputMap

    def build(self, place: MapPlace) -> nn.Module:
        """Make the map, without gradients of its parameters."""
        return self.of.build(place).requires_grad_(False)

    def facts(self) -> MapFacts:
        """Return those of the map."""
        return self.of.facts()


class BlindMap(nn.Module):
    """No input arrives.

    Args:
        out_features: Numbers given.
    """

    def __init__(self, out_features: int) -> None:
        super().__init__()
        self.out_features = out_features

    def forward(self, x: Float[Tensor, "*batch in_features"]) -> Float[Tensor, "*batch out_features"]:
        """Return zeros."""
        return x.new_zeros(*x.shape[:-1], self.out_features)


@dataclass(frozen=True)
class Blind(InputMap):
    """W = 0 in the lowest layer, which then sees its own state alone: a floor; dense above it."""

    def build(self, place: MapPlace) -> nn.Module:
        """Make the map."""
        return DENSE.build(place) if place.layer > 0 else BlindMap(place.out_features)
