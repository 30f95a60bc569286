"""How near each format comes to given matrices with about 512 numbers."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

import btrnn
from btrnn.nn.factorised import FactorisedLinear
from btrnn.recovery.study import KINDS, SIZE, make_truth

_CUBE = ((4, 4, 4), (4, 4, 4))


class Fit(NamedTuple):
    """A format's layer for a matrix of 64 x 64.

    label: As it is shown.
    name: Of the class in `btrnn`.
    sizes, ranks: Its arguments by place and by name.
    """

    label: str
    name: str
    sizes: tuple[Any, ...]
    ranks: dict[str, Any]

    @property
    def kind(self) -> Any:
        """The class."""
        return getattr(btrnn, self.name)

    def error(self, weight: Tensor) -> float:
        """Compute the relative error of the fit to a matrix of 64 x 64."""
        sizes = () if self.name == "LowRankLinear" else self.sizes
        layer: FactorisedLinear = self.kind.from_dense(weight, *sizes, **self.ranks)
        return layer.relative_error(weight)


def _fits() -> Iterator[Fit]:
    yield Fit("block terms", "BTLinear", _CUBE, {"tucker_rank": 4, "num_blocks": 2})
    yield Fit("tensor train", "TTLinear", _CUBE, {"tt_rank": (4, 5)})
    yield Fit("tensor ring", "TRLinear", _CUBE, {"tr_rank": (4, 5, 4, 5, 4, 5)})
    yield Fit("canonical polyadic", "CPLinear", _CUBE, {"cp_rank": 10})
    yield Fit("Tucker", "TuckerLinear", _CUBE, {"tucker_rank": 6})
    yield Fit("hierarchical Tucker", "HTLinear", _CUBE, {"ht_rank": 6})
    yield Fit("Kronecker, two matrices", "KroneckerLinear", ((8, 8), (8, 8)), {"num_terms": 4})
    yield Fit("low rank", "LowRankLinear", (SIZE, SIZE), {"rank": 4})


FITS = tuple(_fits())
_NUM_SEEDS = 3


def fit_errors() -> pd.DataFrame:
    """Fit every format to three matrices of each kind of `btrnn.recovery.study`.

    Returns:
        A row each: `format`, `small_parameters`, and the mean relative error for each kind of matrix,
        `error_photograph` and so on.
    """
    rows = []
    for one in FITS:
        parameters = one.kind(*one.sizes, **one.ranks, device="meta").num_weights
        row: dict[str, Any] = {"format": one.label, "small_parameters": parameters}
        for kind in KINDS:
            errors = [one.error(torch.from_numpy(make_truth(kind, seed))) for seed in range(_NUM_SEEDS)]
            row[f"error_{kind}"] = sum(errors) / _NUM_SEEDS
        rows.append(row)
    return pd.DataFrame(rows)
