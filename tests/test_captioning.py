"""Task 3: what it optimises and reports, runs from scenes to captions, and captions of a user's own pictures."""

import json
import re
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import ANY

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning import Trainer
from omegaconf import DictConfig
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import DataLoader

from btrnn import BTLSTM, LSTM
from btrnn.data.captions.coco import CaptionBatch, CaptionedImages
from btrnn.data.captions.vocabulary import BOS, EOS, PAD, Vocabulary
from btrnn.data.pictures import ImageError
from btrnn.engine import run
from btrnn.engine.config import ConfigError, register
from btrnn.engine.machine import git_state
from btrnn.engine.weights import export_weights
from btrnn.models import Captioner
from btrnn.models.captioner import Caption
from btrnn.results.schema import CAPTIONING
from btrnn.results.store import collect
from btrnn.tasks import Captioning, captioning
from btrnn.tasks import caption_scores as metrics
from btrnn.tasks.captioning import NUM_SHOWN
from tests.run_folders import change_config
from tests.test_report import load

from .conftest import ROOT, wandb_record

CAPTIONS = [
    *("a red cube", "two blue balls on sand", "a green ring left of a red ball", "the sky"),
    *("one small cone", "a ball behind a large blue cube", "three rings", "a red cube under a cone"),
]


class EightImages(CaptionedImages):
    """Eight images with random features, which stand in all splits, each with one caption; no files but pictures."""

    def __init__(self, folder: Path) -> None:
        super(CaptionedImages, self).__init__()
        self.folder, self.vocabulary = folder, Vocabulary.from_captions(CAPTIONS, 1)
        splits = ["train"] * 8 + ["val"] * 8 + ["test"] * 8
        self.splits = pd.DataFrame({"image_id": 500 + np.arange(24), "file": "x.png", "split": splits})
        self._features = torch.randn(8, 3, 16, generator=torch.Generator().manual_seed(0))
        Image.new("RGB", (30, 20), (200, 10, 10)).save(folder / "x.png")

    @property
    def feature_shape(self) -> tuple[int, int]:
        return 3, 16

    def prepare_data(self) -> None:
        pass

    def setup(self, stage: str | None = None) -> None:
        pass

    def facts(self) -> dict[str, object]:
        return {}

    def features(self, rows: np.ndarray) -> np.ndarray:
        return self._features[np.asarray(rows) % 8].numpy()

    def references(self, rows: np.ndarray) -> list[list[str]]:
        return [[CAPTIONS[row % 8]] for row in rows]

    def image_path(self, row: int) -> Path:
        return self.folder / "x.png"

    def _batches(self, first: int) -> DataLoader:
        encoded = [[BOS, *self.vocabulary.encode(caption), EOS] for caption in CAPTIONS]
        batches = []
        for part in (range(5), range(5, 8)):
            longest = max(len(encoded[k]) for k in part)
            tokens = torch.tensor([encoded[k] + [PAD] * (longest - len(encoded[k])) for k in part])
            lengths = torch.tensor([len(encoded[k]) for k in part])
            batches.append(CaptionBatch(self._features[list(part)], tokens, lengths, first + torch.tensor(list(part))))
        return DataLoader(batches, batch_size=None)

    def train_dataloader(self) -> DataLoader:
        return self._batches(0)

    def val_dataloader(self) -> DataLoader:
        return self._batches(8)

    def test_dataloader(self) -> DataLoader:
        return self._batches(16)


@pytest.fixture
def eight(tmp_path: Path) -> EightImages:
    return EightImages(tmp_path)


def task(layer: LSTM | None = None, **options) -> Captioning:
    network = partial(Captioner, recurrent=layer or LSTM(48, 48, batch_first=True))
    needed = {"learning_rate": 1e-2, "beam_size": 3, "max_length": 30, "length_penalty": 0.0}
    return Captioning(network, **needed | options)


def trainer(folder: Path, epochs: int = 1) -> Trainer:
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return Trainer(max_epochs=epochs, accelerator="cpu", default_root_dir=folder, enable_model_summary=False, **options)


def test_eight_images_are_captioned_perfectly_after_training_on_them(eight, tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "has_java", lambda: False)
    torch.manual_seed(0)
    layer = BTLSTM((4, 4, 3), (4, 4, 3), tucker_rank=2, num_blocks=2, batch_first=True)
    module = task(layer)
    module.complete(eight)
    fitter = trainer(tmp_path, 120)
    fitter.fit(module, datamodule=eight)
    (scores,) = fitter.test(module, datamodule=eight, verbose=False)
    outputs = module.outputs(eight)
    assert outputs["caption"].tolist() == CAPTIONS
    assert scores["test/bleu_4"] > 0.99
    assert scores["test/perplexity"] < 1.1
    assert scores["test/cider"] > 3 * scores["test/cider_constant"]
    assert scores["test/cider"] == pytest.approx(outputs["cider"].mean())
    again = task(BTLSTM((4, 4, 3), (4, 4, 3), tucker_rank=2, num_blocks=2, batch_first=True), beam_size=1)
    again.complete(eight)
    again.load_state_dict(module.state_dict())
    assert again.eval().captions(torch.from_numpy(eight.features(np.arange(8))), eight.vocabulary) == CAPTIONS


def test_losses_are_means_over_words_without_padding(eight, tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "has_java", lambda: False)
    module = task()
    module.complete(eight)
    (scores,) = trainer(tmp_path).test(module, datamodule=eight, verbose=False)
    total, words = 0.0, 0
    with torch.no_grad():
        for k, caption in enumerate(CAPTIONS):
            tokens = torch.tensor([[BOS, *eight.vocabulary.encode(caption), EOS]])
            alone = module.network(
                torch.from_numpy(eight.features(np.array([k]))), tokens, torch.tensor([tokens.shape[1]])
            )
            total += float(F.cross_entropy(alone, tokens[0, 1:], reduction="sum"))
            words += tokens.shape[1] - 1
    assert scores["test/loss"] == pytest.approx(total / words, rel=1e-5)
    assert scores["test/perplexity"] == pytest.approx(np.exp(total / words), rel=1e-5)


def test_weights_depend_on_the_seed_alone_not_on_what_the_data_drew(eight):
    networks = []
    for drawn in (0, 1_000):
        torch.manual_seed(3)
        module = task()
        torch.randn(drawn)
        state = torch.get_rng_state()
        module.complete(eight)
        assert torch.equal(torch.get_rng_state(), state)
        networks.append(module.network)
    for (name, one), other in zip(networks[0].named_parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(one, other), name
    assert networks[0].output.out_features == len(eight.vocabulary)
    assert networks[0].feature_map.in_features == 16
    assert not torch.equal(networks[0].recurrent.input_maps[0].weight[:48, :16], networks[0].feature_map.weight)


@pytest.mark.parametrize("option", [{"beam_size": 0}, {"max_length": 0}, {"length_penalty": -1.0}])
def test_a_search_that_finds_nothing_is_refused_before_the_training(option):
    with pytest.raises(ValueError, match="beam_size and max_length must be at least 1"):
        task(**option)


def test_the_rate_falls_over_the_run_or_over_the_epochs_of_a_longer_one():
    rates = {}
    for epochs in (None, 4):
        module = task(decay_epochs=epochs)
        module.trainer = SimpleNamespace(estimated_stepping_batches=400, max_epochs=2)
        rate = module.configure_optimizers()["lr_scheduler"]["scheduler"].lr_lambdas[0]
        rates[epochs] = [rate(step) for step in (49, 99, 200, 400, 800)]
    assert rates[None] == pytest.approx([0.5, 0.7525, 0.5, 0.02, 0.02])
    assert rates[4] == pytest.approx([0.5, 0.87625, 0.75, 0.5, 0.02])


def test_a_decoder_that_cannot_be_is_refused_before_the_data_are_read():
    with pytest.raises(ValueError, match="one direction, and batch_first=True"):
        task(LSTM(8, 8))


def test_the_rate_warms_up_and_falls_to_its_end(eight):
    module = task(learning_rate=1.0)
    module._trainer = SimpleNamespace(estimated_stepping_batches=1_000)
    configured = module.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(1_001):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(0.9, abs=0.011)
    assert rates[500] == pytest.approx(0.5)
    assert rates[1_000] == pytest.approx(0.02)


@pytest.fixture(scope="module")
def scenes_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data_dir in which the first run makes 36 scenes and their features."""
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture
def make_config(scenes_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., DictConfig]:
    """Compose the configuration of one small run on scenes; without Java, whose METEOR takes seconds to start."""
    monkeypatch.setattr(metrics, "has_java", lambda: False)
    register()

    def make(*overrides: str, results: str = "results") -> DictConfig:
        common = [
            f"data_dir={scenes_dir}",
            f"results_dir={tmp_path / results}",
            "logger=none",
            "resume_every_seconds=0",
        ]
        small = ["scale.captioning.num_train=24", "data.word_threshold=1", "scale.captioning.max_epochs=2"]
        small += ["modes.input=[4,4,4]", "modes.hidden=[4,4,4]"]
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            return compose(
                "train", ["experiment=captioning", "data=scenes", "model=bt_lstm", *common, *small, *overrides]
            )

    return make


def test_the_papers_counts_and_values():
    counts = {}
    for model in ("lstm", "tt_lstm", "bt_lstm"):
        register()
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            config = compose("train", ["experiment=captioning", f"model={model}", "scale=paper"])
        module: Captioning = instantiate(config.task)
        counts[model] = module.recurrent.num_input_parameters
        assert (module.recurrent.input_size, module.recurrent.hidden_size, module.beam_size) == (512, 512, 20)
        assert module.network.dropout.p == pytest.approx(1 - 0.7)
    assert counts == {"lstm": 1_048_576, "tt_lstm": 1_536, "bt_lstm": 1_552}
    assert config.trainer.gradient_clip_val == 5.0


def test_a_run_leaves_captions_words_and_pictures_and_is_tested_again(make_config, monkeypatch):
    config = make_config()
    summary = run.train(config)
    run_dir = Path(config.run_dir)
    assert (summary["source"], summary["stand_in"], summary["experiment"]) == ("scenes", True, "captioning_scenes")
    assert (summary["parameters_input"], summary["parameters_dense_input"]) == (400, 16_384)
    assert (summary["tokenizer"], summary["beam_size"], summary["num_test"]) == ("plain", 3, 6)
    history = pd.read_csv(run_dir / "metrics.csv")
    assert summary["epoch_chosen"] == history["val/loss"].idxmin()
    assert summary["seconds"] == pytest.approx(history["seconds"].sum())
    captions = pd.read_csv(run_dir / "captions.csv", keep_default_na=False)
    splits = pd.read_csv(run_dir / "splits.csv")
    assert captions["image"].tolist() == splits.loc[splits["split"] == "test", "image_id"].tolist()
    assert captions["cider"].mean() == pytest.approx(summary["test/cider"], abs=1e-6)
    assert summary["test/perplexity"] == pytest.approx(np.exp(summary["test/loss"]), rel=1e-4)
    for name in CAPTIONING.metrics:
        assert (name in summary) == (name != "test/meteor" and "pairs" not in name), name  # pairs: of earlier runs
    vocabulary = Vocabulary.parse((run_dir / "vocabulary.json").read_text(), run_dir)
    assert len(vocabulary) == summary["vocabulary_size"]
    assert set(" ".join(captions["caption"]).split()) <= set(vocabulary.words)
    pictures = dict(np.load(run_dir / "arrays.npz"))
    assert pictures["images"].shape == (NUM_SHOWN, 160, 160, 3)
    shown = pictures["image_ids"].tolist()
    assert len(set(shown)) == NUM_SHOWN
    assert set(shown) <= set(captions["image"])
    files = splits.set_index("image_id")["file"]
    for image_id, image in zip(shown, pictures["images"], strict=True):
        np.testing.assert_array_equal(image, captioning._picture(Path(config.data.root) / files[image_id]))
    assert (run_dir / "arrays.npz").stat().st_size < 1_000_000
    again = run.evaluate(run_dir)
    assert again == pytest.approx({key: value for key, value in summary.items() if key in again})
    results, _ = collect(Path(config.results_dir), "captioning_scenes")
    assert results.predictions["caption"].tolist() == captions["caption"].tolist()
    monkeypatch.setattr(captioning, "beam_search", lambda network, part, **_: [Caption([4], 0.0)] * len(part))
    assert run.evaluate(run_dir) != again
    said = run_dir / "summary.json"
    assert json.loads(said.read_text()) == summary, "it is written anew only if that is asked"
    held = []
    monkeypatch.setattr(run, "locked", lambda folder: held.append(folder) or nullcontext())
    another = run.evaluate(run_dir, rewrite=True)
    assert held == [run_dir]  # a run of this folder, and another rewrite, wait
    rewritten = json.loads(said.read_text())
    assert rewritten["finished"] >= summary["finished"]
    assert rewritten == summary | another | git_state() | {"finished": rewritten["finished"]}
    assert set(pd.read_csv(run_dir / "captions.csv")["caption"]) == {vocabulary.words[4]}
    table = (run_dir / "splits.csv").read_text()
    (run_dir / "splits.csv").write_text(table.replace("test", "val", 1))
    with pytest.raises(ConfigError, match=r"is of other data than are there now, by its splits\.csv"):
        run.evaluate(run_dir, rewrite=True)
    (run_dir / "splits.csv").write_text(table)
    write = Captioning.write_outputs

    def broken(*given):
        write(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(Captioning, "write_outputs", broken)
    with pytest.raises(KeyboardInterrupt):
        run.evaluate(run_dir, rewrite=True)
    assert not said.exists(), "new captions beside old scores are no finished run"
    with pytest.raises(ConfigError, match=r"was being rewritten; .*--rewrite"):
        run.train(config)
    monkeypatch.setattr(Captioning, "write_outputs", write)
    assert run.evaluate(run_dir, rewrite=True) == another
    assert run.train(config) == json.loads(said.read_text()) == rewritten | {"finished": ANY}
    (run_dir / "config.yaml").write_text((run_dir / "config.yaml").read_text().replace("test: true", "test: false"))
    with pytest.raises(ConfigError, match="the run was not tested"):
        run.evaluate(run_dir, rewrite=True)


def test_a_run_that_broke_off_ends_with_the_same_weights(make_config, monkeypatch):
    loss = Captioning.loss
    whole, broken = make_config(results="whole"), make_config(results="broken")
    run.train(whole)

    def breaking(self, batch, split):
        if self.global_step == 3:
            raise OSError("a power cut")
        return loss(self, batch, split)

    monkeypatch.setattr(Captioning, "loss", breaking)
    with pytest.raises(OSError, match="a power cut"):
        run.train(broken)
    monkeypatch.setattr(Captioning, "loss", loss)
    run.train(broken)
    folders = [Path(config.run_dir) for config in (whole, broken)]
    weights = [torch.load(folder / "checkpoints" / "best.pt") for folder in folders]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert (folders[0] / "captions.csv").read_text() == (folders[1] / "captions.csv").read_text()


def test_wandb_gets_a_table_of_images_and_captions(make_config, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb"))
    config = make_config("logger=wandb", "scale.captioning.max_epochs=1")
    run.train(config)
    splits = pd.read_csv(Path(config.run_dir) / "splits.csv").query("split == 'test'")
    (folder,) = Path(config.run_dir).glob("wandb/offline-run-*")
    (table,) = folder.glob("files/media/table/**/*.json")
    content = json.loads(table.read_text())
    assert content["columns"] == ["image", "caption", "CIDEr", "references"]
    assert len(content["data"]) == 6
    (record,) = folder.glob("run-*.wandb")
    shown = set(re.findall(rb"media/images/\w+\.jpg", wandb_record(record)))
    assert len(shown) == len(splits)  # the pictures are in the table's artifact


def test_pictures_of_ones_own_are_captioned(make_config, tmp_path, capsys):
    script = load("caption")
    config = make_config("scale.captioning.max_epochs=1")
    run.train(config)
    run_dir = Path(config.run_dir)
    captions = pd.read_csv(run_dir / "captions.csv", keep_default_na=False)["caption"]
    splits = pd.read_csv(run_dir / "splits.csv")
    scene = Path(config.data.root) / splits.loc[splits["split"] == "test", "file"].iloc[0]
    grey = tmp_path / "grey.png"
    Image.new("L", (90, 40), 128).save(grey)
    script.main(["--run", str(run_dir), str(scene), str(grey)])
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert lines[0] == f"{scene}: {captions[0]}"
    assert lines[1].startswith(f"{grey}: ")
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(ImageError, match="2 of 3 pictures could not be read"):
        script.main(["--run", str(run_dir), str(tmp_path / "text.jpg"), str(tmp_path / "none.jpg"), str(grey)])
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{grey}: ")
    assert f"{tmp_path / 'none.jpg'}: not captioned: no such file" in printed.err
    results_dir = Path(config.results_dir)
    script.main(["--results-dir", str(results_dir), str(scene)])  # the run that was finished last
    assert capsys.readouterr() == (f"{scene}: {captions[0]}\n", f"with {run_dir}\n")
    weights = results_dir / "weights" / "captioning.safetensors"
    export_weights(run_dir, weights, largest=10**9)
    change_config(run_dir, "task._target_", "btrnn.tasks.Moved")
    with pytest.raises(ConfigError, match=rf"^{run_dir}: .*'btrnn.tasks.Moved' cannot be imported"):
        script.main(["--run", str(run_dir), str(grey)])
    for name, problem in (("vocabulary.json", "was not tested"), ("config.yaml", "is not a finished run")):
        (run_dir / name).unlink()
        with pytest.raises((ConfigError, FileNotFoundError), match=rf"seed0 {problem}"):
            script.main(["--run", str(run_dir), str(grey)])
    script.main(["--results-dir", str(results_dir), str(scene)])  # what was exported knows its words
    assert capsys.readouterr() == (f"{scene}: {captions[0]}\n", f"with {weights}\n")
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"no captioning run is finished in .*reproduce-captioning"):
        script.main(["--results-dir", str(results_dir), str(scene)])
