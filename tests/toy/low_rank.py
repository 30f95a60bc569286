"""A map of one's own: W = U V, whose inner size is the rank."""

from dataclasses import dataclass

from torch import nn

from btrnn.nn.input_map import InputMap, MapFacts, MapPlace


@dataclass(frozen=True)
class LowRank(InputMap):
    """W as a product of two thin matrices.

    Args:
        rank: R, the inner size of the product.
    """

    rank: int

    def build(self, place: MapPlace) -> nn.Module:
        down = nn.Linear(place.in_features, self.rank, bias=False, **place.factory)
        return nn.Sequential(down, nn.Linear(self.rank, place.out_features, bias=False, **place.factory))

    def facts(self) -> MapFacts:
        return MapFacts(rank=self.rank)
