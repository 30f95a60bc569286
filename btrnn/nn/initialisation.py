"""The released code's initial numbers, for all three models."""

from typing import Literal

from torch import Tensor, nn

InitName = Literal["default", "paper"]
DENSE_PAPER_STD = 0.1  # the released code's initial standard deviation of a dense input-to-hidden matrix
TT_PAPER_STD = 0.08  # and of its TT-cores


def bt_paper_std(tucker_rank: int) -> float:
    """Give the released code's initial standard deviation of a block-term map's core and factors.

    Raises:
        ValueError: The rank is above 4, where the formula .05 (5 - R) is no longer positive.
    """
    if tucker_rank > 4:
        raise ValueError(
            f"init='paper' draws with standard deviation .05 (5 - R), so tucker_rank must be at most 4, "
            f"got {tucker_rank}; use init='default'"
        )
    return 0.05 * (5 - tucker_rank)


def truncated_normal_(parameter: Tensor, std: float) -> None:
    """Fill `parameter` with normal numbers of this standard deviation, redrawn where beyond two of it."""
    nn.init.trunc_normal_(parameter, std=std, a=-2 * std, b=2 * std)
