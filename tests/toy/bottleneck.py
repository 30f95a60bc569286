"""A map of one's own: W = U V, whose inner size is the rank."""

from dataclasses import dataclass

from torch import nn

from btrnn.nn.input_map import InputMap, MapFacts, MapPlace


@dataclass(frozen=True)
class Bottleneck(InputMap):
    """Two thin matrices.

    Args:
        rank: R, the inner size of their product.
    """

    rank: int

    def build(self, place: MapPlace) -> nn.Module:
        return nn.Sequential(
            nn.Linear(place.in_features, self.rank, bias=False, **place.factory),
            nn.Linear(self.rank, place.out_features, bias=False, **place.factory),
        )

    def facts(self) -> MapFacts:
        return MapFacts(rank=self.rank)
