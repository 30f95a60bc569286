"""W as one dense matrix: the map of `btrnn.nn.input_map.Dense`, also behind maps that shrink their input."""

from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn

from btrnn.nn.parameters import to_fill
from btrnn.ops.matmul import matmul


class DenseMap(nn.Module):
    """A dense W without a bias, by the faster of torch's matrix products.

    It is no nn.Linear: what a network does to all of these, as drawing them anew, is not meant for a layer's W.

    Args:
        in_features: Columns of W.
        out_features: Its rows.
        device: Of W.
        dtype: Of W.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = nn.Parameter(torch.empty(out_features, in_features, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw W anew, as nn.Linear."""
        with to_fill([(self, "weight")]) as (weight,):
            nn.init.kaiming_uniform_(weight, a=sqrt(5))

    def forward(self, x: Float[Tensor, "*batch in_features"]) -> Float[Tensor, "*batch out_features"]:
        """Compute W x for every vector of `x`."""
        rows = x.reshape(-1, self.in_features)
        return matmul(rows, self.weight.t()).reshape(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """Describe the map as W's two sizes."""
        return f"in_features={self.in_features}, out_features={self.out_features}"
