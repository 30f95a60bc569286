"""Training steps in mixed precision, and as graphs: nearly or exactly what they are without, and what is refused."""

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from lightning import Callback, Trainer
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader

from btrnn import LSTM
from btrnn.data.captions.coco import CaptionBatch
from btrnn.data.mnist import ImageBatch
from btrnn.data.module import VideoBatch
from btrnn.engine import run
from btrnn.engine.callbacks import ResumePoint, SeedEveryStep
from btrnn.engine.config import ConfigError
from btrnn.engine.graphs import GraphedSteps
from btrnn.models import DRAW, Captioner, VideoClassifier
from btrnn.tasks import Captioning, Generation, NonFiniteLossError, Task, VideoClassification

from .test_run import without_times

QUIET = {
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Again:
    """What does the work again where a CUDA graph would be replayed; counts how often it did."""

    made, replayed = 0, 0

    def __init__(self, warm_up: Callable[[], object], work: Callable[[], object]) -> None:
        warm_up()
        self.work = work
        Again.made += 1

    def replay(self) -> object:
        Again.replayed += 1
        return self.work()


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> type[Again]:
    """Let graphs do their work again, on any device."""
    monkeypatch.setattr(GraphedSteps, "make", Again)
    monkeypatch.setattr(run, "check_trainer", lambda *_: None)
    monkeypatch.setattr(Again, "made", 0)
    monkeypatch.setattr(Again, "replayed", 0)
    return Again


def video() -> tuple[Task, list[VideoBatch]]:
    layer = LSTM(6, 4, batch_first=True, input_dropout=0.3, recurrent_dropout=0.4)
    task = VideoClassification(
        VideoClassifier(layer, num_classes=3), learning_rate=0.05, learning_rate_decay=0.1, classifier_l2=0.01
    )
    labels = torch.tensor([0, 2, 1, 1, 0])
    frames = torch.randn(5, 3, 6) + labels[:, None, None]
    whole = VideoBatch(frames, torch.ones(5, 3, dtype=torch.bool), labels, torch.arange(5), True)
    mask = whole.mask.clone()
    mask[1, 0] = False
    ragged = whole._replace(mask=mask, whole=False)
    last = VideoBatch(*(part[:2] for part in whole[:4]), True)
    return task, [whole, whole, ragged, whole, last]


def generation() -> tuple[Task, list[ImageBatch]]:
    network = DRAW(
        LSTM(2 * 2**2 + 6, 7),
        latent_size=3,
        decoder_size=6,
        num_glimpses=2,
        image_shape=(5, 4),
        read_size=2,
        write_size=2,
    )
    images = (torch.rand(5, 20) > 0.5).float()
    return Generation(network, learning_rate=0.1), [ImageBatch(images, torch.arange(5))] * 5


def captioning() -> tuple[Task, list[CaptionBatch]]:
    def network(**sizes: int) -> Captioner:
        return Captioner(LSTM(4, 5, batch_first=True), dropout=0.1, **sizes)

    task = Captioning(network, learning_rate=0.3, beam_size=3, max_length=30, length_penalty=0.0)
    task.make_network(9, 3)
    tokens = torch.tensor([[1, 4, 5, 6, 2], [1, 7, 2, 0, 0]])
    batch = CaptionBatch(torch.randn(2, 2, 3).half(), tokens, torch.tensor([5, 3]), torch.arange(2))
    return task, [batch] * 5


class Losses(Callback):
    """What keeps the loss of every step, the weights behind it, and what was logged of the last epoch."""

    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        self.weights: list[Tensor] = []
        self.logged: dict[str, Tensor] = {}
        self.metrics: tuple[str, ...] = ()  # of the task

    def on_train_batch_end(self, trainer, pl_module, outputs, *_) -> None:
        self.losses.append(outputs["loss"])
        self.weights.append(nn.utils.parameters_to_vector(pl_module.parameters()).detach().clone())

    def on_train_end(self, trainer, pl_module) -> None:
        self.logged = dict(trainer.callback_metrics)


def fit(
    make: Callable[[], tuple[Task, list]], kept: Losses | None = None, *, graph: bool = False, **options: object
) -> Losses:
    """Train a tiny task for three epochs of five batches."""
    torch.manual_seed(0)
    task, batches = make()
    task.graphed = GraphedSteps(task) if graph else None
    kept = kept or Losses()
    kept.metrics = task.metrics
    options = QUIET | {"accelerator": "cpu", "callbacks": [SeedEveryStep(3), kept]} | options
    trainer = Trainer(max_epochs=3, log_every_n_steps=1, **options)
    trainer.fit(task, DataLoader(batches, batch_size=None))
    return kept


@pytest.mark.parametrize("make", [video, generation, captioning])
def test_mixed_precision_trains_nearly_as_full_precision_does(make):
    full, mixed = (
        torch.stack(fit(make, precision=precision, gradient_clip_val=5.0).losses)
        for precision in ("32-true", "bf16-mixed")
    )
    assert mixed.dtype == torch.float32
    assert not torch.equal(mixed, full)
    assert float(mixed[0]) == pytest.approx(float(full[0]), rel=0.01)
    torch.testing.assert_close(mixed, full, rtol=0.1, atol=0.02)
    assert mixed[-3:].mean() < mixed[:3].mean()


def test_the_bound_of_draw_is_computed_in_full_precision():
    torch.manual_seed(0)
    task, (batch, *_) = generation()
    with torch.autocast("cpu", torch.bfloat16):
        output = task.network(batch.images)
    assert {part.dtype for part in output} == {torch.float32}


class CutError(Exception):
    """What ends a run after its first epoch."""


def resumed(config, monkeypatch):
    """Stop a run after its first checkpoint, and go on; return its rows and weights."""

    def cut(*arguments):
        save(*arguments)
        raise CutError

    save = ResumePoint.on_train_epoch_end
    with monkeypatch.context() as patch:
        patch.setattr(ResumePoint, "on_train_epoch_end", cut)
        with pytest.raises(CutError):
            run.train(config)
    return outcome(config)


def outcome(config):
    run.train(config)
    run_dir = Path(config.run_dir)
    return without_times(run_dir), torch.load(run_dir / "checkpoints" / "best.pt")


WORDS = ["model=tt_lstm", "scale.video.max_epochs=2", "test=false", "data.batch_size=2"]
WORDS += ["+trainer.limit_train_batches=2", "+trainer.limit_val_batches=1"]


@pytest.mark.parametrize(("make", "precision"), [(video, "bf16-mixed"), (generation, "32-true")])
def test_graphed_steps_are_those_without(make, precision, again):
    options = {"precision": precision, "gradient_clip_val": 0.5}
    with_graphs, without = fit(make, graph=True, **options), fit(make, **options)
    # the rate is rounded to float32; of video's batches the one with a short clip is left to Lightning
    torch.testing.assert_close(with_graphs.losses, without.losses, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(with_graphs.weights, without.weights, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(with_graphs.logged, without.logged, rtol=1e-4, atol=1e-5)
    assert set(with_graphs.logged) == {name for name in with_graphs.metrics if name.startswith("train/")}
    assert (again.made, again.replayed) == ((2, 9) if make is video else (1, 12))


def test_a_run_with_graphs_in_mixed_precision_goes_on_with_the_same_bits(make_config, again, monkeypatch):
    words = [*WORDS, "trainer.precision=bf16-mixed", "trainer.graph=true"]
    rows, weights = resumed(make_config(*words, "name=resumed"), monkeypatch)
    assert again.replayed == 2 * 1  # of two batches of an epoch all but the first
    config = make_config(*words)
    expected_rows, expected = outcome(config)
    pd.testing.assert_frame_equal(rows, expected_rows, check_exact=True)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert make_config(*words, "trainer.graph=false").run_dir == config.run_dir
    with pytest.raises(ConfigError, match=r"trainer\.precision: bf16-mixed there, 32-true now"):
        run.train(make_config(*words, "trainer.precision=32-true"))


def test_a_graphed_loss_that_is_no_number_changes_no_weight_and_ends_the_epoch(again, monkeypatch):
    measure, kept = Generation.measure, Losses()

    def poisoned(self, batch):
        measured = measure(self, batch)
        return measured._replace(loss=measured.loss * math.nan) if self.global_step == 7 else measured

    monkeypatch.setattr(Generation, "measure", poisoned)
    with pytest.raises(NonFiniteLossError, match=r"nan at step 7 \(epoch 1\)"):
        fit(generation, kept, graph=True)
    weights = kept.weights
    assert len(weights) == 9  # the last step of the epoch has looked at all losses
    assert torch.equal(weights[7], weights[6])
    assert weights[8].isfinite().all()
    assert not torch.equal(weights[8], weights[7])


GRAPH = {"graph": True, "accelerator": "gpu"}


@pytest.mark.parametrize(
    ("trainer", "section", "number", "cuda", "message"),
    [
        ({"precision": "64-true"}, "video", 1, False, r"precision=64-true: runs have 32-true or bf16-mixed"),
        (GRAPH, "video", 1, False, r"graph=true needs a CUDA device"),
        (GRAPH | {"accelerator": "cpu"}, "video", 1, True, r"graph=true needs a CUDA device"),
        (GRAPH | {"graph": "sometimes"}, "video", 1, True, r"graph=sometimes: true makes"),
        (GRAPH, "video", 2, True, r"is for one device, and there are 2"),
        ({"accumulate_grad_batches": 2}, "video", 1, True, r"the same in several batches; take a larger"),
        ({"check_val_every_n_epoch": 2}, "video", 1, True, r"every epoch is validated"),
        ({"limit_val_batches": 0}, "video", 1, True, r"every epoch is validated"),
        ({"max_epochs": 0}, "video", 1, True, r"max_epochs=0: a run has at least one epoch"),
        (GRAPH, "captioning", 1, True, r"each of captions has its own"),
    ],
)
def test_what_a_device_cannot_do_is_refused(monkeypatch, trainer, section, number, cuda, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    with pytest.raises(ConfigError, match=message):
        run.check_trainer(DictConfig({"trainer": trainer, "section": section}), number)


def test_it_is_refused_before_any_work(make_config):
    config = make_config("trainer.accelerator=cpu", "trainer.precision=16-mixed")
    with pytest.raises(ConfigError, match=r"float16 would need scaled losses"):
        run.train(config)
    assert not Path(config.run_dir).exists()
