r"""DRAW's attention: an N x N grid of Gaussian filters that reads from an image or writes to it.

From the decoder's hidden state come five numbers (Gregor et al., ICML 2015, equations 21 to 24): the grid's centre, the
filters' variance, the stride and an intensity. For an image of A rows and B columns:

    centre  g_Y = (A + 1) / 2 (g~_Y + 1)          stride  delta = (max(A, B) - 1) / (N - 1) delta~
    filter i stands at  mu_i = g + (i - N / 2 - 1 / 2) delta,  i = 1 .. N
    F[i, a] = exp(-(a - mu_i)^2 / (2 sigma^2)), each filter's values divided by their sum

with pixels a = 1 .. A (equations 19, 20, 25, 26).

The paper does not say where the filters start. Here they start as a grid over the whole image, each as wide as its
share of it, and a patch of ones draws about ones; what is read and what is written is enlarged, so that both are of the
order of the hidden states. With biases of zero the filters would see and draw spots far apart, and training stays for
long where the latent is not used (trials: results/experiments_that_did_not_help.md).
"""

from math import log
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

_FIRST_READING = 5.0  # times as strongly as the filters see
_FIRST_VALUES = 4.0  # times as large as nn.Linear starts
SMALLEST_SUM = 1e-8  # of a filter that stands far outside of the image


class Filterbank(NamedTuple):
    """The filters of a batch of images.

    rows: (B, N, A), over the image's rows.
    columns: (B, N, B'), over its columns.
    intensity: (B, 1, 1), gamma.
    """

    rows: Tensor
    columns: Tensor
    intensity: Tensor


def gaussian_filters(
    centre: Float[Tensor, " batch"],
    stride: Float[Tensor, " batch"],
    variance: Float[Tensor, " batch"],
    count: int,
    length: int,
) -> Float[Tensor, "batch {count} {length}"]:
    """Make `count` filters over an axis of `length` pixels, which are counted from 1; each sums to 1."""
    number = torch.arange(1, count + 1, device=centre.device, dtype=centre.dtype)
    place = centre[:, None] + (number - count / 2 - 0.5) * stride[:, None]
    pixel = torch.arange(1, length + 1, device=centre.device, dtype=centre.dtype)
    values = (-(pixel - place[..., None]).square() / (2 * variance[:, None, None])).exp()
    return values / values.sum(dim=-1, keepdim=True).clamp_min(SMALLEST_SUM)


class _Attention(nn.Module):
    """Where the filters stand, from the decoder's hidden state."""

    def __init__(self, image_shape: tuple[int, int], hidden_size: int, filter_size: int) -> None:
        super().__init__()
        if filter_size < 1:
            raise ValueError(f"the filters must be at least 1 x 1, got {filter_size} x {filter_size}")
        self.image_shape, self.filter_size = image_shape, filter_size
        self.largest_stride = (max(image_shape) - 1) / max(filter_size - 1, 1)
        self.share = max(image_shape) / filter_size  # pixels of the longer side for each filter
        self.placement = nn.Linear(hidden_size, 5)
        with torch.no_grad():
            self.placement.bias.zero_()
            self.placement.bias[2] = 2 * log(self.share / 2)
            self.placement.bias[3] = log(self.share / self.largest_stride)

    def filterbank(self, hidden: Float[Tensor, "batch hidden"]) -> Filterbank:
        """Place the filters."""
        numbers = self.placement(hidden).to(self.placement.weight.dtype)  # bfloat16 would place them 1/16 pixel apart
        row, column, log_variance, log_stride, log_intensity = numbers.unbind(dim=1)
        (height, width), count = self.image_shape, self.filter_size
        stride = self.largest_stride * log_stride.exp()
        variance = log_variance.exp()
        return Filterbank(
            gaussian_filters((height + 1) / 2 * (row + 1), stride, variance, count, height),
            gaussian_filters((width + 1) / 2 * (column + 1), stride, variance, count, width),
            log_intensity.exp()[:, None, None],
        )


class GaussianRead(_Attention):
    """Read N x N values of an image and of its error.

    Args:
        image_shape: Rows and columns.
        hidden_size: Of the state that places the filters.
        filter_size: N.

    Raises:
        ValueError: N is below 1.
    """

    def __init__(self, image_shape: tuple[int, int], hidden_size: int, filter_size: int) -> None:
        super().__init__(image_shape, hidden_size, filter_size)
        self.size = 2 * filter_size**2
        with torch.no_grad():
            self.placement.bias[4] = log(_FIRST_READING)

    def forward(
        self,
        image: Float[Tensor, "batch pixels"],
        error: Float[Tensor, "batch pixels"],
        hidden: Float[Tensor, "batch hidden"],
    ) -> Float[Tensor, "batch values"]:
        """Return (B, 2 N^2): gamma F_Y x F_X^T, then the same of the error (equation 27)."""
        rows, columns, intensity = self.filterbank(hidden)
        both = torch.stack([image, error], dim=1).view(len(image), 2, *self.image_shape)
        patches = rows.unsqueeze(1) @ both @ columns.transpose(1, 2).unsqueeze(1)
        scaled: Tensor = intensity.unsqueeze(1) * patches
        return scaled.flatten(1)


class GaussianWrite(_Attention):
    """Write N x N values to an image, through filters of their own.

    Args:
        image_shape: Rows and columns.
        hidden_size: Of the state that gives the values and places the filters.
        filter_size: N.

    Raises:
        ValueError: N is below 1.
    """

    def __init__(self, image_shape: tuple[int, int], hidden_size: int, filter_size: int) -> None:
        super().__init__(image_shape, hidden_size, filter_size)
        self.values = nn.Linear(hidden_size, filter_size**2)
        with torch.no_grad():
            self.values.weight *= _FIRST_VALUES
            self.placement.bias[4] = -2 * log(self.share)  # each filter's values sum to 1, over `share` pixels

    def forward(self, hidden: Float[Tensor, "batch hidden"]) -> Float[Tensor, "batch pixels"]:
        """Return (B, pixels): F_Y^T w F_X / gamma (equation 29)."""
        rows, columns, intensity = self.filterbank(hidden)
        patch = self.values(hidden).view(-1, self.filter_size, self.filter_size)
        drawn: Tensor = rows.transpose(1, 2) @ patch @ columns / intensity
        return drawn.flatten(1)
