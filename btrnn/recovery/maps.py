"""A map of each format for matrices of 64 x 64, all with about 512 numbers."""

from typing import Any, NamedTuple

from torch import Tensor

import btrnn
from btrnn.nn.factorised import FactorisedLinear
from btrnn.recovery.records import SIZE

_CUBE = ((4, 4, 4), (4, 4, 4))


class EqualMap(NamedTuple):
    """A format's layer for a matrix of 64 x 64.

    name: Of the class in `btrnn`.
    sizes, ranks: Its arguments by place and by name.
    """

    name: str
    sizes: tuple[Any, ...]
    ranks: dict[str, Any]

    @property
    def kind(self) -> Any:
        """The class."""
        return getattr(btrnn, self.name)

    def make(self, **options: Any) -> FactorisedLinear:
        """Make a layer, with its initialisation."""
        layer: FactorisedLinear = self.kind(*self.sizes, **self.ranks, **options)
        return layer

    def from_dense(self, weight: Tensor) -> FactorisedLinear:
        """Make the layer that is close to a matrix of 64 x 64."""
        sizes = () if self.name == "LowRankLinear" else self.sizes
        layer: FactorisedLinear = self.kind.from_dense(weight, *sizes, **self.ranks)
        return layer


MAPS = {  # by the names of `btrnn.recovery.records.EQUAL_MAPS`
    "bt": EqualMap("BTLinear", _CUBE, {"tucker_rank": 4, "num_blocks": 2}),
    "tt": EqualMap("TTLinear", _CUBE, {"tt_rank": (4, 5)}),
    "tr": EqualMap("TRLinear", _CUBE, {"tr_rank": (4, 5, 4, 5, 4, 5)}),
    "cp": EqualMap("CPLinear", _CUBE, {"cp_rank": 10}),
    "tucker": EqualMap("TuckerLinear", _CUBE, {"tucker_rank": 6}),
    "ht": EqualMap("HTLinear", _CUBE, {"ht_rank": 6}),
    "kronecker": EqualMap("KroneckerLinear", ((8, 8), (8, 8)), {"num_terms": 4}),
    "low_rank": EqualMap("LowRankLinear", (SIZE, SIZE), {"rank": 4}),
}


def make(name: str) -> FactorisedLinear:
    """Make the layer of one of `MAPS`, without a bias."""
    return MAPS[name].make(bias=False)
