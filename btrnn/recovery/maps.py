"""A map of each format for matrices of 64 x 64, all with about 512 numbers."""

import torch
from torch import Tensor

from btrnn.nn.factorised import FactorisedLinear
from btrnn.nn.hierarchical_tucker import HierarchicalTucker
from btrnn.nn.input_map import BlockTerm, FactorisedMap, MapPlace, TensorTrain
from btrnn.nn.kronecker import CanonicalPolyadic, Kronecker
from btrnn.nn.low_rank import LowRank
from btrnn.nn.tensor_ring import TensorRing
from btrnn.nn.tucker import Tucker
from btrnn.recovery.records import SIZE

_CUBE = ((4, 4, 4), (4, 4, 4))
MAPS: dict[str, FactorisedMap | LowRank] = {  # by the names of `btrnn.recovery.records.EQUAL_MAPS`
    "bt": BlockTerm(*_CUBE, rank=4, num_blocks=2),
    "tt": TensorTrain(*_CUBE, rank=(4, 5)),
    "tr": TensorRing(*_CUBE, rank=(4, 5, 4, 5, 4, 5)),
    "cp": CanonicalPolyadic(*_CUBE, rank=10),
    "tucker": Tucker(*_CUBE, rank=6),
    "ht": HierarchicalTucker(*_CUBE, rank=6),
    "kronecker": Kronecker((8, 8), (8, 8), num_terms=4),
    "low_rank": LowRank(rank=4),
}


def make(name: str, device: torch.device | str | None = None) -> FactorisedLinear:
    """Make the layer of one of `MAPS`, with its initialisation and without a bias."""
    return MAPS[name].build(_place(device))


def from_dense(name: str, weight: Tensor) -> FactorisedLinear:
    """Make the layer of one of `MAPS` that is close to a matrix of 64 x 64."""
    return MAPS[name].from_dense(_place(weight.device), weight)


def _place(device: torch.device | str | None) -> MapPlace:
    """Return that of a single matrix, which serves one gate."""
    return MapPlace(0, 1, 1, SIZE, SIZE, {"device": device, "dtype": None})
