"""How a product of many small tensors is computed: a contraction path, planned once per shape.

The order of the pairwise products decides whether a factorised layer is faster or slower than the dense one.
opt_einsum searches the path with the fewest multiply-adds; building the dense matrix first is one of the paths it
weighs, so that is done exactly where it is cheaper.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import opt_einsum
import torch


@lru_cache(maxsize=1024)
def _plan(
    inputs: tuple[tuple[str, ...], ...], output: tuple[str, ...], shapes: tuple[tuple[int, ...], ...]
) -> Callable[..., torch.Tensor]:
    """Return a function of the operands that follows the cheapest path found for these shapes."""
    letters = {name: opt_einsum.get_symbol(k) for k, name in enumerate(sorted({n for names in inputs for n in names}))}
    left = ",".join("".join(letters[name] for name in names) for names in inputs)
    right = "".join(letters[name] for name in output)
    expression: Callable[..., torch.Tensor] = opt_einsum.contract_expression(
        f"{left}->{right}", *shapes, optimize="auto-hq"
    )
    return expression


def contract(operands: Sequence[torch.Tensor], axes: Sequence[Sequence[str]], output: Sequence[str]) -> torch.Tensor:
    """Multiply tensors and sum over every axis that `output` does not name.

    Args:
        operands: The tensors.
        axes: For each operand the names of its axes, such as ("batch", "i1", "i2"); axes of one name are matched.
        output: The names of the result's axes, in order.

    Returns:
        The contracted tensor, with one axis for each name in `output`.
    """
    plan = _plan(tuple(map(tuple, axes)), tuple(output), tuple(tuple(operand.shape) for operand in operands))
    return plan(*operands)
