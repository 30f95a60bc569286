"""Batches that processes share: whose rows are whose; each task's loss, metrics and gradients are those of one."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import NamedTuple, TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor, distributed, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.utils.data import DataLoader

from btrnn import GRU, LSTM
from btrnn.data.captions.coco import CaptionBatch
from btrnn.data.mnist import MNIST, BinaryImages, ImageBatch
from btrnn.data.module import BatchOrder, VideoBatch
from btrnn.engine.callbacks import SeedEveryStep
from btrnn.models import DRAW, Captioner, VideoClassifier
from btrnn.ops.shared_batch import Share, draw, dropout, packed_dropout, seed_streams, set_share, share_of
from btrnn.tasks import Captioning, Generation, NonFiniteLossError, Task, VideoClassification

SEED = 7
Result = TypeVar("Result")


@pytest.fixture(autouse=True)
def whole_batches_afterwards() -> Iterator[None]:
    yield
    set_share(None)


@pytest.mark.parametrize(("rows", "processes"), [(16, 2), (5, 2), (7, 3), (1, 4), (2, 3)])
def test_every_row_is_one_processes_and_nobody_has_two_more_than_another(rows, processes):
    shares = [share_of(rows, process, processes) for process in range(processes)]
    assert [row for share in shares for row in range(share.first, share.first + share.size)] == list(range(rows))
    assert max(share.size for share in shares) - min(share.size for share in shares) <= 1
    assert all(share.whole == rows and 0 <= share.first < rows for share in shares)


def test_the_parts_of_a_batch_are_in_order_those_of_one_process():
    orders = [BatchOrder(range(9), 4, 3, shuffle=True, process=process, num_processes=2) for process in range(2)]
    whole = BatchOrder(range(9), 4, 3, shuffle=True)
    for order in (*orders, whole):
        order.set_epoch(5)
    batches = list(zip(*orders, whole, strict=True))
    assert [first + second for first, second, _ in batches[:2]] == [batch for _, _, batch in batches[:2]]
    last = [order.share(2) for order in orders]  # of one row
    assert sorted(share.size for share in last) == [0, 1]
    assert all(part == batches[2][2] for part in batches[2])  # who has none computes it too


def test_data_of_more_processes_than_a_batch_has_examples_are_refused():
    data = MNIST(source="mnist_5k", root="", batch_size=3)
    with pytest.raises(ValueError, match=r"data\.batch_size=3 .* 4 of them .* at most 3 devices"):
        data.share(0, 4)
    data.share(2, 3)
    assert data.batches(np.arange(6), shuffle=False).share(1) == Share(2, 1, 3)


def test_what_is_drawn_for_rows_is_what_one_process_draws_and_the_rest_is_each_ones_own():
    torch.manual_seed(SEED)
    ones = torch.ones(5, 6)
    expected = [nn.functional.dropout(ones, 0.5), torch.randn(5, 3), nn.functional.dropout(2 * ones, 0.3)]
    found, own = [], []
    for process in range(2):
        share = share_of(5, process, 2)
        set_share(share)
        seed_streams(SEED, SEED + 1000 * (process + 1))
        rows = torch.ones(share.size, 6)
        masked, other = dropout(rows, 0.5, True), torch.rand(4)
        found.append([masked, draw(torch.randn_like, rows[:, :3]), dropout(2 * rows, 0.3, True)])
        own.append(other)
        assert torch.equal(dropout(rows, 0.5, False), rows)
    for parts, one in zip(zip(*found, strict=True), expected, strict=True):
        assert torch.equal(torch.cat(parts), one)
    assert not torch.equal(*own)


def test_validation_draws_what_one_process_draws_after_the_last_step_of_training(unchecked):
    images = BinaryImages(np.zeros((5, 784), dtype=np.uint8), 0, every_epoch=False)

    def epoch(process: int, processes: int) -> Tensor:
        order = BatchOrder(range(5), 5, 0, shuffle=False, process=process, num_processes=processes)
        loader = DataLoader(images, sampler=order, batch_size=None)
        trainer = SimpleNamespace(world_size=processes, global_rank=process, global_step=9)
        trainer.train_dataloader = trainer.val_dataloaders = loader
        callback, rows = SeedEveryStep(3), torch.ones(order.share(0).size, 4)
        callback.on_train_batch_start(trainer, None, None, 0)
        drawn = [draw(torch.randn_like, rows)]
        iter(loader)
        callback.on_validation_batch_start(trainer, None, None, 0)
        drawn.append(draw(torch.randn_like, rows))
        callback.teardown(trainer, None, "fit")
        return torch.stack(drawn, dim=1)

    assert torch.equal(torch.cat([epoch(0, 2), epoch(1, 2)]), epoch(0, 1))


class Case(NamedTuple):
    """A task, and a batch of five examples."""

    task: Callable[[], Task]
    batch: tuple[Tensor, ...]


def video(layer: Callable[..., nn.Module], *, ragged: bool = False, **stacked: float) -> Case:
    def make() -> Task:
        recurrent = layer(6, 4, batch_first=True, input_dropout=0.3, recurrent_dropout=0.4, **stacked)
        options = {"learning_rate": 1e-3, "learning_rate_decay": 0.5, "classifier_l2": 0.01}
        return VideoClassification(VideoClassifier(recurrent, num_classes=3), **options)

    frames, mask = torch.randn(5, 3, 6, dtype=torch.float64), torch.ones(5, 3, dtype=torch.bool)
    if ragged:  # the padding stands first; of the first process's clips none is as long as the second's
        mask = torch.arange(3) >= torch.tensor([[1], [2], [0], [1], [0]])
    return Case(make, VideoBatch(frames, mask, torch.tensor([0, 2, 1, 1, 0]), torch.arange(5)))


def generation() -> Case:
    def make() -> Task:
        network = DRAW(LSTM(46, 7), latent_size=3, decoder_size=6, num_glimpses=2, image_shape=(5, 4))
        return Generation(network, learning_rate=1e-3)

    return Case(make, ImageBatch((torch.rand(5, 20) > 0.5).double(), torch.arange(5)))


def captioning(**stacked: float) -> Case:
    def make() -> Task:
        def network(**sizes: int) -> Captioner:
            return Captioner(LSTM(4, 5, batch_first=True, **stacked), dropout=0.4, **sizes)

        task = Captioning(network, learning_rate=1e-3, beam_size=3, max_length=30, length_penalty=0.0)
        task.make_network(9, 3)
        return task

    lengths = torch.tensor([3, 6, 2, 5, 4])  # the widest caption is the first process's
    tokens = torch.tensor(
        [
            [1, *[4 + (row + k) % 5 for k in range(length - 2)], 2] + [0] * (6 - length)
            for row, length in enumerate(lengths.tolist())
        ]
    )
    return Case(make, CaptionBatch(torch.randn(5, 2, 3).half(), tokens, lengths, torch.arange(5)))


def part_of(batch: tuple[Tensor, ...], rows: slice) -> tuple[Tensor, ...]:
    part = type(batch)(*(values[rows] if isinstance(values, Tensor) else values for values in batch))
    if isinstance(part, CaptionBatch):
        part = part._replace(tokens=part.tokens[:, : int(part.lengths.max())])
    return part


class Pending(Exception):
    """What another process says is not known yet."""


def step(task: Task, batch: tuple[Tensor, ...]) -> tuple[dict[str, float], list[Tensor]]:
    """Return what a training step logs, with the size of the batch, and the gradients."""
    logged: dict[str, float] = {}
    task.log_dict = lambda metrics, batch_size, **_: logged.update(metrics, size=batch_size)
    task.zero_grad()
    task.training_step(batch).backward()
    return {key: float(torch.as_tensor(value).detach()) for key, value in logged.items()}, [
        parameter.grad.clone() for parameter in task.parameters() if parameter.grad is not None
    ]


def in_processes(rows: int, number: int, work: Callable[[Share], Result], monkeypatch) -> list[Result]:
    """Work as each of `number` processes, again until all know what the others said in each exchange."""
    exchanged: list[Tensor] = []
    monkeypatch.setattr(distributed, "get_world_size", lambda: number)
    while True:
        results, said = [], []
        for process in range(number):
            share = share_of(rows, process, number)
            exchange = iter(exchanged)

            def all_reduce(tensor: Tensor, op: object = distributed.ReduceOp.SUM, exchange=exchange, said=said) -> None:
                known = next(exchange, None)
                if known is None:
                    said.append((tensor.clone(), op))
                    raise Pending
                tensor.copy_(known)

            monkeypatch.setattr(distributed, "all_reduce", all_reduce)
            set_share(share)
            seed_streams(SEED, SEED + 1000 * (process + 1))
            try:
                results.append(work(share))
            except Pending:
                continue
        if not said:
            return results
        values = torch.stack([value for value, _ in said])
        exchanged.append(values.sum(0) if said[0][1] == distributed.ReduceOp.SUM else values.amax(0))


def steps_of_processes(case: Case, task: Task, number: int, monkeypatch) -> list[tuple[dict[str, float], list[Tensor]]]:
    def work(share: Share) -> tuple[dict[str, float], list[Tensor]]:
        return step(task, part_of(case.batch, slice(share.first, share.first + max(share.size, 1))))

    return in_processes(len(case.batch[0]), number, work, monkeypatch)


@pytest.mark.parametrize("lengths", [[2, 5, 3, 4] * 10, [3] * 40], ids=["ragged", "equal"])
def test_masks_of_packed_sequences_are_those_of_one_process(lengths, monkeypatch):
    """Forty of few lengths: torch's sort keeps no order among equal ones."""

    def masked(share: Share) -> Tensor:
        own = torch.tensor(lengths[share.first : share.first + share.size])
        ones = torch.ones(share.size, max(lengths), 3)
        packed = pack_padded_sequence(ones, own, batch_first=True, enforce_sorted=False)
        dropped = packed_dropout(packed.data, 0.5, True, packed.batch_sizes.tolist(), packed.sorted_indices)
        sequences = PackedSequence(dropped, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
        return pad_packed_sequence(sequences, batch_first=True, total_length=max(lengths))[0]

    torch.manual_seed(SEED)
    expected = masked(Share(0, 40, 40))
    assert torch.equal(torch.cat(in_processes(40, 3, masked, monkeypatch)), expected)


@pytest.mark.parametrize("number", [2, 7], ids=["uneven", "some_without_rows"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: video(LSTM),
        lambda: video(GRU),
        lambda: video(LSTM, ragged=True),
        lambda: video(LSTM, num_layers=2, dropout=0.5, bidirectional=True),
        lambda: video(GRU, ragged=True, num_layers=3, dropout=0.5, bidirectional=True),
        generation,
        captioning,
        lambda: captioning(num_layers=2, dropout=0.5),
    ],
    ids=["lstm", "gru", "ragged", "stacked", "ragged_stacked", "draw", "captions", "stacked_captions"],
)
def test_processes_that_share_a_batch_do_together_what_one_does(make, number, monkeypatch):
    torch.manual_seed(0)
    case = make()
    task = case.task().double()
    torch.manual_seed(SEED)
    logged, gradients = step(task, case.batch)
    results = steps_of_processes(case, task, number, monkeypatch)
    assert len(results) == number
    for found, _ in results:
        assert found == pytest.approx(logged, rel=1e-6)
    means = [torch.stack(parts).mean(0) for parts in zip(*(each for _, each in results), strict=True)]
    for name, mean, one in zip(dict(task.named_parameters()), means, gradients, strict=True):
        torch.testing.assert_close(mean, one, rtol=1e-9, atol=1e-12, msg=name)


def test_a_loss_that_is_no_number_in_one_process_ends_all(monkeypatch):
    case = video(LSTM)
    case.batch.frames[4] = float("nan")  # the second process's
    ended = []

    def ends(self: Task, batch: VideoBatch) -> Tensor:
        with pytest.raises(NonFiniteLossError, match="nan at step 0"):
            training_step(self, batch)
        ended.append(batch)
        return self.network.classifier.weight.sum()

    training_step = Task.training_step
    monkeypatch.setattr(Task, "training_step", ends)
    steps_of_processes(case, case.task().double(), 2, monkeypatch)
    assert len(ended) == 2
