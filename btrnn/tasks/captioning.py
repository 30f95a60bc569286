"""Task 3, image captioning: cross-entropy of the next word, and the captions that a beam search finds."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import ImageOps
from torch import Tensor, distributed
from torch.nn import functional as F

from btrnn.data import SHOWN_STREAM, generator
from btrnn.data.captions.coco import CaptionBatch, CaptionedImages
from btrnn.data.captions.vocabulary import PAD, Vocabulary
from btrnn.data.pictures import read_picture
from btrnn.models.captioner import Captioner, beam_search, caption_loss, check_search
from btrnn.nn.recurrent import Recurrent
from btrnn.ops import shared_batch
from btrnn.storage.atomic import replace_file
from btrnn.storage.files import arrays_bytes
from btrnn.tasks.caption_scores import constant_cider, score_captions, tokenizer_name, true_cider
from btrnn.tasks.task import Measured, Outputs, Task, warmed_up_adam

log = logging.getLogger(__name__)
NUM_SHOWN = 6  # test images whose pictures are kept, drawn once for all runs, whatever is said of them
_SHOWN_SEED = 0
_SIDE = 160  # pixels of such a picture
_SEARCHED_AT_ONCE = 100  # images
_TABLE_ROWS = 50  # test images in W&B's table


class Captioning(Task):
    """Words after words of a caption, and how good the captions are.

    Args:
        network: Makes the captioner when it is told vocabulary_size and num_channels, which the data decide.
        learning_rate: Adam's rate after a linear warm-up; it then falls linearly to 2 % of it.
        beam_size: Captions that the search keeps for each image.
        max_length: Most words of a caption.
        length_penalty: Power of the length that a caption's log-probability is divided by.
        decay_epochs: Epochs after which the rate has fallen; those of the run without it.
        scaled: Whether each layer gets its own rate by `btrnn.nn.rates`.

    Raises:
        ValueError: The captioner cannot be made, whatever the data, or the search of captions is asked for too little.
    """

    metrics = ("train/loss", "val/loss")

    def __init__(
        self,
        network: Callable[..., Captioner],
        *,
        learning_rate: float,
        beam_size: int,
        max_length: int,
        length_penalty: float,
        decay_epochs: int | None = None,
        scaled: bool = False,
    ) -> None:
        super().__init__()
        check_search(beam_size, max_length, length_penalty)
        self._network, self._random_state = network, torch.get_rng_state()
        self.network = network(vocabulary_size=1, num_channels=1)  # until `complete`; a mistake shows before data do
        self.learning_rate, self.beam_size, self.max_length = learning_rate, beam_size, max_length
        self.length_penalty, self.decay_epochs, self.scaled = length_penalty, decay_epochs, scaled
        self._losses: list[tuple[float, int]] = []  # of the test's batches: mean over the words, and their number
        self._captions: list[str] = []  # of the test images
        self._cider = np.empty(0)

    @property
    def recurrent(self) -> Recurrent:
        """The decoder."""
        return self.network.recurrent

    def check_data(self, data: CaptionedImages) -> None:
        """The network is made to fit the data."""

    def complete(self, data: CaptionedImages) -> None:
        """Make the network for the data's words and features."""
        self.make_network(len(data.vocabulary), data.feature_shape[1])
        self.network.standardise(*map(torch.from_numpy, data.channel_statistics()))

    def make_network(self, vocabulary_size: int, num_channels: int) -> None:
        """Make the captioner; its weights are those that would have been drawn at once, whatever was drawn since."""
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._random_state)
            self.network = self._network(vocabulary_size=vocabulary_size, num_channels=num_channels)

    def facts(self) -> dict[str, object]:
        """Return how captions are made and scored."""
        return {"tokenizer": tokenizer_name(), "beam_size": self.beam_size}

    def measure(self, batch: CaptionBatch) -> Measured:
        """Compute the mean cross-entropy a word, nats; <eos> is a word, padding is none."""
        tokens = batch.tokens
        if shared_batch.shared() is not None:  # as wide in all processes, and so are the dropout masks
            width = torch.tensor(tokens.shape[1], device=tokens.device)
            distributed.all_reduce(width, distributed.ReduceOp.MAX)
            tokens = F.pad(tokens, (0, int(width) - tokens.shape[1]), value=PAD)
        loss = caption_loss(self.network(batch.features, tokens, batch.lengths), tokens)
        return Measured(loss, {"loss": loss}, _num_words(batch))

    def on_test_start(self) -> None:
        """Forget an earlier test."""
        self._losses.clear()

    def test_step(self, batch: CaptionBatch) -> None:
        """Log the loss of reference captions."""
        self._losses.append((float(self.loss(batch, "test")), _num_words(batch)))

    def on_test_epoch_end(self) -> None:
        """Caption the test images, and log the scores."""
        # Lightning's Trainer sets it when it runs
        data: CaptionedImages = self.trainer.datamodule  # type: ignore[attr-defined]
        rows, total = data.rows("test"), sum(words for _, words in self._losses)
        references = data.references(rows)
        log.info("searching captions of %d test images, %d beams", len(rows), self.beam_size)
        self._captions = self.captions(torch.from_numpy(data.features(rows)), data.vocabulary)
        scores = score_captions(self._captions, references)
        self._cider = scores.cider
        candidates = [text for some in data.references(data.rows("train")) for text in some]
        metrics = scores.corpus | {
            "perplexity": math.exp(sum(loss * words for loss, words in self._losses) / total),
            "cider_constant": constant_cider(candidates, data.references(data.rows("val")), references),
            "cider_true": true_cider(references),
        }
        self.log_dict({f"test/{name}": value for name, value in metrics.items()})

    @torch.no_grad()
    def captions(self, features: Tensor, vocabulary: Vocabulary) -> list[str]:
        """Search a caption for each image.

        Args:
            features: (n, P, C), P cells of each image.
            vocabulary: The words that the network was made for.
        """
        found = [
            beam_search(
                self.network,
                part.to(self.device),
                beam_size=self.beam_size,
                max_length=self.max_length,
                length_penalty=self.length_penalty,
            )
            for part in torch.split(features, _SEARCHED_AT_ONCE)
        ]
        return [vocabulary.decode(caption.words) for part in found for caption in part]

    def outputs(self, data: CaptionedImages) -> Outputs:
        """Return the last test's rows of the data's `splits` with caption and CIDEr, (images,) each, and some pictures.

        image_ids, images: (shown,) and (shown, 160, 160, 3) uint8, of test images drawn by a seed of their own.
        """
        rows = data.rows("test")
        drawn = generator(_SHOWN_SEED, SHOWN_STREAM).permutation(rows)[:NUM_SHOWN]
        return {
            "rows": rows,
            "caption": np.array(self._captions),
            "cider": self._cider,
            "image_ids": np.array(data.splits.loc[drawn, "image_id"].tolist()),  # a type of fixed size, also of texts
            "images": np.stack([_picture(data.image_path(row)) for row in drawn]),
        }

    def write_outputs(self, run_dir: Path, data: CaptionedImages, chosen: Outputs, last: Outputs) -> None:  # noqa: ARG002
        """Write captions.csv, a row for each test image, vocabulary.json, and arrays.npz with the pictures."""
        table = pd.DataFrame({"image": data.splits.loc[chosen["rows"], "image_id"].to_numpy()})
        table = table.assign(caption=chosen["caption"], cider=chosen["cider"])
        replace_file(run_dir / "captions.csv", table.to_csv(index=False))
        pictures = {name: chosen[name] for name in ("image_ids", "images")}
        replace_file(run_dir / "arrays.npz", arrays_bytes(pictures))
        data.vocabulary.save(run_dir / "vocabulary.json")

    def media(self, data: CaptionedImages, chosen: Outputs) -> dict[str, Any]:
        """Return a table of test images, their captions and references."""
        import wandb

        rows, captions, cider = (chosen[name][:_TABLE_ROWS] for name in ("rows", "caption", "cider"))
        table = wandb.Table(columns=["image", "caption", "CIDEr", "references"])
        for row, caption, score, references in zip(rows, captions, cider, data.references(rows), strict=True):
            picture = wandb.Image(read_picture(data.image_path(row))[0], file_type="jpg")
            table.add_data(picture, str(caption), float(score), "\n".join(references))
        return {"test/captions": table}

    def configure_optimizers(self) -> Any:
        """Return Adam with a warm-up and a decay."""
        return warmed_up_adam(self, self.decay_epochs)


def _num_words(batch: CaptionBatch) -> int:
    return int((batch.lengths - 1).sum())


def _picture(path: Path) -> np.ndarray:
    """Read the middle square of an image, (160, 160, 3) uint8."""
    return np.asarray(ImageOps.fit(read_picture(path)[0], (_SIDE, _SIDE)))
