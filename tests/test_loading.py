"""The order of the data is a function of (seed, epoch), also through Lightning and a resume."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.fabric.utilities.data import _set_sampler_epoch

from btrnn.data import generator
from btrnn.data.module import BatchOrder

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*isinstance.treespec.*")


class Rows(torch.utils.data.Dataset[torch.Tensor]):
    """Gives back what it is asked for: (batch, 2) of row and epoch."""

    def __getitem__(self, items: list[tuple[int, int]]) -> torch.Tensor:
        return torch.tensor(items)


def loader(order: BatchOrder) -> torch.utils.data.DataLoader[torch.Tensor]:
    return torch.utils.data.DataLoader(Rows(), sampler=order, batch_size=None)


def batches_of(order: BatchOrder, epoch: int) -> list[list[tuple[int, int]]]:
    order.set_epoch(epoch)
    return list(order)


@given(
    rows=st.lists(st.integers(0, 10_000), min_size=1, max_size=60, unique=True),
    batch_size=st.integers(1, 20),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 1000),
    passes=st.integers(1, 3),
)
def test_each_pass_of_an_epoch_holds_each_row_once(
    rows: list[int], batch_size: int, seed: int, epoch: int, passes: int
) -> None:
    order = BatchOrder(rows, batch_size, seed, shuffle=True, passes=passes)
    batches = batches_of(order, epoch)
    items = [item for batch in batches for item in batch]
    for number in range(passes):
        own = items[number * len(rows) : (number + 1) * len(rows)]
        assert sorted(row for row, _ in own) == sorted(rows)
        assert {item_pass for _, item_pass in own} == {passes * epoch + number}
    assert len(items) == passes * len(rows)
    assert len(batches) == len(order)
    assert sum(order.share(index).whole for index in range(len(order))) == len(items)
    assert all(len(batch) == batch_size for batch in batches[:-1])
    # The epochs before it, and their number, leave no trace.
    other = BatchOrder(rows, batch_size, seed, shuffle=True, passes=passes)
    batches_of(other, epoch + 3)
    assert batches_of(other, epoch) == batches


def test_order_differs_between_seeds_and_epochs_and_can_be_left_alone() -> None:
    orders = [
        [row for batch in batches_of(BatchOrder(range(50), 8, seed, shuffle=True), epoch) for row, _ in batch]
        for seed, epoch in [(0, 0), (0, 1), (1, 0)]
    ]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    unshuffled = batches_of(BatchOrder([5, 3, 9], 2, 0, shuffle=False), 4)
    assert unshuffled == [[(5, 4), (3, 4)], [(9, 4)]]


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="without a single row"):
        BatchOrder([], 4, 0, shuffle=True)
    with pytest.raises(ValueError, match="batch_size and passes must be at least 1, got 0 and 1"):
        BatchOrder([1], 0, 0, shuffle=True)
    with pytest.raises(ValueError, match="negative"):
        generator(-1, 2)


def test_lightning_sets_the_epoch() -> None:
    order = BatchOrder(range(4), 2, 0, shuffle=True)
    _set_sampler_epoch(loader(order), 5)
    assert order.epoch == 5


class Recorder(pl.LightningModule):
    """Writes down the batches it trains on, and makes a step that depends on their order."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[list[int]]] = []
        self.stop_after = stop_after

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        if len(self.seen) == self.stop_after:
            raise InterruptedError
        self.seen.append(batch.tolist())
        return (self.weight - batch[:, 0].float().mean()) ** 2

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None: ...

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.3)


class SaveEachEpoch(pl.Callback):
    def on_train_epoch_end(self, trainer: pl.Trainer, *arguments: Any) -> None:
        trainer.save_checkpoint(Path(trainer.default_root_dir) / "last.ckpt")


def fit(folder: Path, module: Recorder, resume: Path | None = None) -> None:
    trainer = pl.Trainer(
        max_epochs=3,
        default_root_dir=folder,
        accelerator="cpu",
        callbacks=[SaveEachEpoch()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    train = loader(BatchOrder(range(10), 3, 1, shuffle=True))
    val = loader(BatchOrder(range(4), 2, 1, shuffle=False))
    trainer.fit(module, train, val, ckpt_path=resume, weights_only=False if resume else None)


@pytest.mark.parametrize(("stop_after", "redone_from"), [(4, 4), (6, 4), (8, 8), (11, 8)])
def test_lightning_resumes_with_the_next_epochs_order(tmp_path: Path, stop_after: int, redone_from: int) -> None:
    whole = Recorder()
    fit(tmp_path / "whole", whole)
    assert len(whole.seen) == 12  # 3 epochs of 4 batches
    assert [batch[0][1] for batch in whole.seen] == [0] * 4 + [1] * 4 + [2] * 4
    stopped = Recorder(stop_after=stop_after)
    with pytest.raises(InterruptedError):
        fit(tmp_path / "stopped", stopped)
    resumed = Recorder()
    fit(tmp_path / "stopped", resumed, tmp_path / "stopped" / "last.ckpt")
    assert stopped.seen[:redone_from] + resumed.seen == whole.seen
    assert torch.equal(resumed.weight, whole.weight)


def test_generator_depends_on_every_key() -> None:
    draws = {float(generator(*keys).random()) for keys in [(0, 1), (1, 0), (0, 1, 0), (0, 1, 2), (0,)]}
    assert len(draws) == 5
    assert np.array_equal(generator(3, 4).random(5), generator(3, 4).random(5))
