"""Protocols: which clips train, which choose, which test."""

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
import pandas as pd

from btrnn.choices import check_choice
from btrnn.data import FEWER_STREAM, SPLIT_STREAM, generator

Protocol = Literal["paper", "paper_validated", "grouped", "group_folds"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
NUM_FOLDS = 5  # of "group_folds": of UCF11's and UCF101's 25 groups a class, each fold tests 5


def split_clips(
    table: pd.DataFrame, protocol: Protocol, seed: int, fold: int | None = None, num_folds: int = NUM_FOLDS
) -> pd.Series:
    """Assign each clip to a split, as a function of the arguments alone.

    "paper": a random 80 % of the clips train, the others test; no validation set, and clips of one group stand on both
    sides (the authors' released code). "paper_validated": the same, but a tenth of the training clips is the validation
    set. "grouped": of each class, random groups make 60 % train, 20 % val and 20 % test (15, 5 and 5 of 25); no group
    is in two splits. "group_folds": folds in which each group of each class is tested once; of the others a fifth is
    the validation set (in five folds 16 train, 4 val and 5 test of 25). The folds are the same for every seed. They are
    runs of groups with neighbouring numbers, as in UCF101's own three splits. With as many folds as groups, one group
    is left out at a time.

    Args:
        table: columns label and group, one row a clip.
        protocol: one of the four.
        seed: seed of the run; "group_folds" does not ask it.
        fold: which fold of "group_folds", from 0; None for the other protocols.
        num_folds: how many folds "group_folds" has.

    Returns:
        "train", "val" or "test" for each row, with the table's index.

    Raises:
        ValueError: if the protocol is unknown, the fold does not fit it, or there are fewer than 3 groups in a class
            ("grouped"), fewer than folds ("group_folds"), or fewer than 2 clips ("paper") or 3 ("paper_validated").
    """
    check_fold(protocol, fold, num_folds)
    if protocol in ("paper", "paper_validated"):
        return _random_clips(table, seed, validated=protocol == "paper_validated")
    split_of: dict[str, str] = {}
    if fold is not None:
        for _, groups in _groups_by_class(table, protocol, num_folds):
            parts = np.array_split(groups, num_folds)
            tested, *others = [*parts[fold:], *parts[:fold]]
            kept = np.concatenate(others)
            split_of |= dict.fromkeys(kept, "train") | dict.fromkeys(tested, "test")
            split_of |= dict.fromkeys(kept[: max(1, round(len(kept) / 5))], "val")
    else:
        for label, groups in _groups_by_class(table, protocol, 3):
            num_held_out = max(1, round(len(groups) / 5))
            shuffled = generator(seed, SPLIT_STREAM, label).permutation(groups)
            split_of |= dict.fromkeys(shuffled, "train")
            split_of |= dict.fromkeys(shuffled[:num_held_out], "val")
            split_of |= dict.fromkeys(shuffled[num_held_out : 2 * num_held_out], "test")
    return table["group"].map(split_of).rename("split")


def keep_training(splits: pd.Series, num_train: int, seed: int) -> pd.Series:
    """Leave all training clips but `num_train` of them unused, drawn by the seed; fewer are a part of more.

    Args:
        splits: "train", "val" or "test" for each clip.
        num_train: clips to keep.
        seed: seed of the run.

    Raises:
        ValueError: There are not so many.
    """
    training = np.flatnonzero(splits == "train")
    if not 1 <= num_train <= len(training):
        raise ValueError(
            f"num_train must be from 1 to the {len(training)} training clips of this split, got {num_train}"
        )
    dropped = generator(seed, FEWER_STREAM).permutation(training)[num_train:]
    return splits.where(~np.isin(np.arange(len(splits)), dropped), "unused")


def check_fold(protocol: str, fold: int | None, num_folds: int = NUM_FOLDS) -> None:
    """Check that a protocol is known, and has a fold where it needs one and none where it does not.

    Raises:
        ValueError: One of them is not so.
    """
    check_choice("protocol", protocol, PROTOCOLS)
    if protocol == "group_folds":
        if fold is None or fold not in range(num_folds):
            raise ValueError(f"protocol 'group_folds' needs fold, 0 to {num_folds - 1}; got {fold}")
    elif fold is not None:
        raise ValueError(f"protocol {protocol!r} has no folds, so fold must be null; got {fold}")


def _random_clips(table: pd.DataFrame, seed: int, *, validated: bool) -> pd.Series:
    """Assign clips at random, whatever their groups."""
    num_needed = 3 if validated else 2
    if len(table) < num_needed:
        raise ValueError(
            f"a random split of the clips needs at least {num_needed}, got {len(table)}: ask for more (num_clips)"
        )
    order = generator(seed, SPLIT_STREAM).permutation(len(table))
    training = order[: len(table) * 4 // 5]
    splits = np.full(len(table), "test", dtype=object)
    splits[training] = "train"
    if validated:
        splits[training[-max(1, len(training) // 10) :]] = "val"
    return pd.Series(splits, index=table.index, name="split")


def _groups_by_class(table: pd.DataFrame, protocol: str, fewest: int) -> Iterator[tuple[int, list[str]]]:
    """Yield each label with its groups, sorted; raise ValueError where there are too few."""
    for label, groups in table.groupby("label")["group"].unique().items():
        if len(groups) < fewest:
            raise ValueError(
                f"protocol {protocol!r} needs at least {fewest} groups a class, got {len(groups)} for label {label}: "
                f"ask for more clips (num_clips), {5 * fewest} or more a class"
            )
        yield int(str(label)), sorted(groups)
