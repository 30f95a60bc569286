"""Which clips a smaller set of clips keeps: fewer groups, never fewer than five clips in a group.

One rule serves the real data set and its stand-in, so that a small set is a part of a larger one.
"""

import numpy as np

CLIPS_PER_GROUP = 5
GROUPS_PER_CLASS = 25


def clips_per_group(num_clips: int, num_classes: int = 11, available: np.ndarray | None = None) -> np.ndarray:
    """Share `num_clips` clips out over the groups of every class.

    Every class gets `num_clips // (5 num_classes)` groups, at least 1 and at most 25, and every group
    gets five clips: removing single clips instead would thin out the near-duplicates that make a random
    split easy.
    What is left is given out one by one: a sixth clip to group 1 of each class, then to group 2 of each
    class, and so on; then a seventh. So all classes stay within one clip of one another.

    Args:
        num_clips: clips wanted, at least 1. Fewer than `5 num_classes` give one group a class all the same.
        num_classes: number of classes, at least 1.
        available: clips that exist, int (num_classes, groups), groups in order; without it there is no
            limit. What one group lacks goes to the others.

    Returns:
        int64 (num_classes, groups): clips 1 to n of each group are used. The sum is `num_clips`, or more
        where `num_clips` is below the least, or less where fewer exist.

    A smaller set is a part of a larger one when both have the same number of groups, or when the smaller
    is a multiple of `5 num_classes`, or when both have all 25 groups.

    Raises:
        ValueError: if a number is below 1, or `available` does not have `num_classes` rows.
    """
    if num_clips < 1 or num_classes < 1:
        raise ValueError(
            f"num_clips and num_classes must be at least 1, got num_clips={num_clips}, num_classes={num_classes}"
        )
    if available is not None and (available.ndim != 2 or len(available) != num_classes):
        raise ValueError(f"available must have shape ({num_classes}, groups), got {available.shape}")
    num_groups = min(max(num_clips // (num_classes * CLIPS_PER_GROUP), 1), GROUPS_PER_CLASS)
    if available is None:
        limit = np.full((num_classes, num_groups), max(num_clips, CLIPS_PER_GROUP), dtype=np.int64)
    else:
        limit = available[:, :num_groups].astype(np.int64)
    counts = np.minimum(limit, CLIPS_PER_GROUP)
    left = num_clips - int(counts.sum())
    while left > 0 and (counts < limit).any():
        # Transposed, because the class runs fastest: one clip for each class before the next group's turn.
        group_index, class_index = np.nonzero((counts < limit).T)
        chosen = slice(0, left)
        counts[class_index[chosen], group_index[chosen]] += 1
        left -= len(group_index[chosen])
    return counts
