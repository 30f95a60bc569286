"""Random numbers of a batch that several processes share, each of which has some of its rows.

One process draws dropout masks and latents for a whole batch at once. Where several share it, each draws the same
numbers for the whole, from a stream that all have, and takes those of its own rows: so it computes what one process
would, and no two have the same. What is drawn in any other way comes from a stream of the process's own.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, distributed
from torch.nn import functional as F


class Share(NamedTuple):
    """The rows of a batch that a process has.

    first: Its first row.
    size: How many it has; with 0 it computes that one row, so that it takes part, and the row must not count.
    whole: Rows of the batch, of all processes together.
    """

    first: int
    size: int
    whole: int


def share_of(rows: int, process: int, num_processes: int) -> Share:
    """Return which of a batch's rows a process has: as many as any other, or one less.

    Args:
        rows: Of the whole batch, at least 1.
        process: Which process, from 0.
        num_processes: How many there are.
    """
    first, end = rows * process // num_processes, rows * (process + 1) // num_processes
    return Share(min(first, rows - 1), end - first, rows)


_share: Share | None = None
_streams: dict[str, Tensor] = {}  # by kind of device: the state of the generator that all processes have


def shared() -> Share | None:
    """Return this process's share of the batch at work; None where it has all of it."""
    return _share


def set_share(share: Share | None) -> None:
    """Set which rows of the next batch this process has; None where it has all."""
    global _share
    _share = share


def seed_streams(common: int, own: int) -> None:
    """Seed the stream that all processes have, and torch's generators, from which all else is drawn.

    Args:
        common: The same in all processes.
        own: Another in each.
    """
    torch.manual_seed(common)
    _streams["cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        _streams["cuda"] = torch.cuda.get_rng_state()
    torch.manual_seed(own)


@contextmanager
def common_stream(device: str = "cpu") -> Iterator[None]:
    """Let torch's generator of a kind of device give the numbers that all processes have, and go on with its own then.

    Args:
        device: "cpu" or "cuda".
    """
    module = torch.cuda if device == "cuda" else torch
    own = module.get_rng_state()
    module.set_rng_state(_streams[device])
    try:
        yield
    finally:
        _streams[device] = module.get_rng_state()
        module.set_rng_state(own)


def draw(function: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """Draw numbers for the rows of a batch.

    Args:
        function: Draws from torch's generator, of the shape of its argument, whose values are 1 where it matters.
        like: (rows, ..), one row for each that this process has of the batch.

    Returns:
        Of the shape of `like`: `function(like)` where the batch is not shared, else the rows that are this process's.
    """
    if _share is None:
        return function(like)
    with common_stream(like.device.type):
        drawn = function(like.new_ones(_share.whole, *like.shape[1:]))
    return drawn[_share.first : _share.first + len(like)]


def dropout(input: Tensor, probability: float, training: bool) -> Tensor:
    """Drop numbers of (rows, ..) as `torch.nn.functional.dropout`, and of a shared batch those that one process would.

    Args:
        input: One row for each that this process has of the batch.
        probability: Of dropping a number.
        training: Nothing is dropped without.
    """
    if _share is None or not (training and probability):
        return F.dropout(input, probability, training)
    return input * draw(lambda like: F.dropout(torch.ones_like(like), probability), input)


def packed_dropout(
    input: Tensor, probability: float, training: bool, batch_sizes: list[int], order: Tensor | None = None
) -> Tensor:
    """Drop numbers of packed sequences, and of a shared batch those that one process would, whatever the lengths.

    Where the batch is shared, all processes must call this, as they tell one another the lengths of their sequences.

    Args:
        input: (sum of batch_sizes, features), the data of a PackedSequence.
        probability: Of dropping a number.
        training: Nothing is dropped without.
        batch_sizes: How many of this process's sequences have each step.
        order: (batch_sizes[0],) which row of the batch each sequence is; None where they are in its order.
    """
    if _share is None or not (training and probability):
        return F.dropout(input, probability, training)
    places, num_rows = _packed_places(_share, batch_sizes, order, input.device)
    with common_stream(input.device.type):
        mask = F.dropout(input.new_ones(num_rows, input.shape[1]), probability)
    return input * mask[places]


def _packed_places(
    share: Share, batch_sizes: list[int], order: Tensor | None, device: torch.device
) -> tuple[Tensor, int]:
    """Return where each of this process's packed rows is among those of the whole batch, packed; and their number."""
    sequences = share.first + (torch.arange(batch_sizes[0]) if order is None else order.cpu())
    said = torch.zeros(share.whole + 1, dtype=torch.long, device=device)  # lengths, and how many processes sort theirs
    if share.size:
        of_own = (torch.tensor(batch_sizes) > torch.arange(batch_sizes[0]).unsqueeze(1)).sum(dim=1)
        said[sequences.to(device)] = of_own.to(device)
        said[-1] = order is not None
    distributed.all_reduce(said)
    lengths, sort = said[:-1].cpu(), bool(said[-1])
    # as torch packs them: its sort is not stable, so that no other one will do
    by_length = torch.sort(lengths, descending=True).indices if sort else torch.arange(share.whole)
    rank = torch.argsort(by_length)
    sizes = (lengths > torch.arange(int(lengths.max())).unsqueeze(1)).sum(dim=1)
    starts = sizes.cumsum(0) - sizes
    places = [starts[step] + rank[sequences[:size]] for step, size in enumerate(batch_sizes)]
    return torch.cat(places).to(device), int(sizes.sum())
