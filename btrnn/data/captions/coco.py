"""MSCOCO's images and captions, those of its stand-in, or Flickr8k's, as a Lightning data module."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float16, Float32
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from btrnn.choices import check_choice
from btrnn.data.captions.annotations import (
    SPLITS,
    AnnotationError,
    Annotations,
    check_images,
    read_annotations,
)
from btrnn.data.captions.features import Features, extract_features
from btrnn.data.captions.flickr8k import read_flickr8k
from btrnn.data.captions.vocabulary import BOS, EOS, PAD, UNK, Vocabulary, VocabularyError
from btrnn.data.encoders import ENCODERS, EncoderName
from btrnn.data.module import DataModule, Item, files_digest, stand_in
from btrnn.storage.stand_ins import STAND_INS

__all__ = ["MAX_WORDS", "SOURCES", "AnnotationError", "CaptionBatch", "CaptionedImages", "Captions"]

Source = Literal["coco", "scenes", "flickr8k"]
SOURCES: tuple[Source, ...] = get_args(Source)
MAX_WORDS = 50  # of a caption; what comes after is cut
_JUDGED_IMAGES = 1000  # tell the channels' means and deviations well enough
HELD_OUT_SHARE = 4  # validation and test have at most a quarter of `num_train` images each


class CaptionBatch(NamedTuple):
    """A batch of captions with their images' features.

    features: (B, P, C) float16, C numbers for each of P cells of the image.
    tokens: (B, W) int64, rows <bos>, the words, <eos>, padding (0).
    lengths: (B,) int64, numbers before the padding.
    rows: (B,) int64, row of the image in `CaptionedImages.splits`.
    """

    features: Tensor
    tokens: Tensor
    lengths: Tensor
    rows: Tensor


class Captions(Dataset[CaptionBatch]):
    """Batches of captions.

    Args:
        features: (images, P, C), rows as `feature_rows` says.
        feature_rows: For each image its row in `features`.
        tokens: Of each caption: <bos>, the words' numbers, <eos>.
        image_rows: For each caption the row of its image.
    """

    def __init__(
        self, features: np.ndarray, feature_rows: np.ndarray, tokens: list[np.ndarray], image_rows: np.ndarray
    ) -> None:
        self.features, self.feature_rows = features, feature_rows
        self.tokens, self.image_rows = tokens, image_rows

    def __getitem__(self, items: list[Item]) -> CaptionBatch:
        """Read a batch, given as a list of (caption, epoch)."""
        chosen = [caption for caption, _ in items]
        lengths = np.array([len(self.tokens[caption]) for caption in chosen], dtype=np.int64)
        tokens = np.full((len(chosen), lengths.max()), PAD, dtype=np.int64)
        for index, caption in enumerate(chosen):
            tokens[index, : lengths[index]] = self.tokens[caption]
        rows = self.image_rows[chosen]
        return CaptionBatch(
            torch.from_numpy(self.features[self.feature_rows[rows]]),
            torch.from_numpy(tokens),
            torch.from_numpy(lengths),
            torch.from_numpy(rows),
        )


class CaptionedImages(DataModule):
    """Captions of images, with a feature for each image.

    Args:
        source: "coco", "scenes" (its stand-in, made where files are missing) or "flickr8k".
        root: The folder that holds the folders of images, and the captions.
        cache_dir: Folder of the features.
        encoder: Network that makes them, see `encoders.ENCODERS`.
        grid: Cells along each side of an image; the encoder says of each what is there. 1: one vector an image.
        word_threshold: How often a word must stand in the training captions to be known.
        num_train: Training images used, the first of the split; validation and test then have at most a quarter of
            that each. All without it.
        batch_size: Captions in a batch.
        seed: Of the run: draws the order.

    Raises:
        ValueError: A choice is unknown or a number does not fit.
    """

    def __init__(
        self,
        *,
        source: Source,
        root: str | Path,
        cache_dir: str | Path,
        encoder: EncoderName = "efficientnet_lite0",
        grid: int = 1,
        word_threshold: int = 5,
        num_train: int | None = None,
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_choice("source", source, SOURCES)
        check_choice("encoder", encoder, ENCODERS)
        if min(batch_size, word_threshold, grid) < 1 or (num_train is not None and num_train < 1) or seed < 0:
            raise ValueError(
                "batch_size, word_threshold, grid and num_train must be at least 1 and seed at least 0; got "
                f"batch_size={batch_size}, word_threshold={word_threshold}, grid={grid}, num_train={num_train}, "
                f"seed={seed}"
            )
        self.source, self.root, self.cache_dir = source, Path(root), Path(cache_dir)
        self.encoder, self.grid, self.word_threshold, self.num_train = encoder, grid, word_threshold, num_train
        self.batch_size, self.seed = batch_size, seed
        self.splits = pd.DataFrame(columns=["image_id", "file", "split"])
        self.num_cut = 0
        self._annotations: Annotations | None = None
        self._features: Features | None = None
        self._feature_rows = np.empty(0, dtype=np.int64)
        self._captions: Captions | None = None

    def prepare_data(self) -> None:
        """Make the stand-in's missing files, and the features, where they are not there yet."""
        if self._captions is None:
            if self.source == "scenes":
                scenes = stand_in("scenes")
                scenes.make_scenes(self.root, self.num_train or scenes.NUM_TRAIN)
            self._read()

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002  (Lightning passes it)
        """Read captions and features, and number the words, once."""
        if self._captions is not None:
            return
        annotations, features = self._read()
        used = self.splits["split"].isin(SPLITS)
        train = self.rows("train")
        self.vocabulary = Vocabulary.from_captions(
            (caption for row in train for caption in annotations.captions[row]), self.word_threshold
        )
        tokens, image_rows = [], []
        for row in np.flatnonzero(used):
            for caption in annotations.captions[row]:
                numbers = self.vocabulary.encode(caption)
                self.num_cut += len(numbers) > MAX_WORDS
                tokens.append(np.array([BOS, *numbers[:MAX_WORDS], EOS], dtype=np.int64))
                image_rows.append(row)
        self._captions = Captions(features.array, self._feature_rows, tokens, np.array(image_rows, dtype=np.int64))

    def _read(self) -> tuple[Annotations, Features]:
        """Read the annotations, assign the splits and open the features, once."""
        if self._annotations is None or self._features is None:
            if self.source == "flickr8k":
                annotations = read_flickr8k(self.root)
            else:
                annotations = read_annotations(self.source, self.root)
                check_images(self.source, self.root, annotations)
            split = annotations.table["split"].copy()
            if self.num_train is not None:
                for name in SPLITS:
                    limit = self.num_train if name == "train" else max(self.num_train // HELD_OUT_SHARE, 1)
                    split[(split == name) & ((split == name).cumsum() > limit)] = "unused"
            speechless = np.array([not captions for captions in annotations.captions])
            split[(split != "unused") & speechless] = "skipped"
            self._check_splits(split)
            self._check_words(annotations, split)  # before the features, which take hours
            used = np.flatnonzero(split.isin(SPLITS))
            files = annotations.table["file"].iloc[used].tolist()
            self._features = extract_features(self.root, files, self.cache_dir, self.encoder, self.grid)
            self._feature_rows = np.full(len(split), -1, dtype=np.int64)
            self._feature_rows[used] = self._features.rows
            split.iloc[used[self._features.rows < 0]] = "skipped"
            self.splits = annotations.table.assign(split=split)
            self._check_splits(split)  # again, as images may have been left out
            self._annotations = annotations
        return self._annotations, self._features

    def _check_splits(self, split: pd.Series) -> None:
        """Raise AnnotationError where a split has no image."""
        if missing := set(SPLITS) - set(split):
            raise AnnotationError(f"{self.root} has no image with a caption for {' and '.join(sorted(missing))}")

    def _check_words(self, annotations: Annotations, split: pd.Series) -> None:
        """Raise AnnotationError where no word of a split's captions can be learnt."""
        place = annotations.place
        captions = {
            name: [text for row in np.flatnonzero(split == name) for text in annotations.captions[row]]
            for name in SPLITS
        }
        try:
            vocabulary = Vocabulary.from_captions(captions["train"], self.word_threshold)
        except VocabularyError as error:
            raise AnnotationError(f"{place}, captions for train: {error}") from error
        for name in SPLITS:
            if not any(number != UNK for text in captions[name] for number in vocabulary.encode(text)):
                raise AnnotationError(
                    f"{place}: no word of the captions for {name}, such as {captions[name][0]!r}, is among the "
                    f"{len(vocabulary):,} words of those for train"
                )

    def facts(self) -> dict[str, object]:
        """Return what a run's summary tells of its data; all after `setup`, then of real pictures also a digest."""
        annotations = self._annotations
        used, digest, captions = self.splits["split"].isin(SPLITS), {}, pd.Series(dtype=int)
        if self._captions and annotations:
            captions = self.splits["split"].iloc[self._captions.image_rows].value_counts()
            if self.source != "scenes":
                files = [*self.splits["file"][used], *annotations.files]
                digest["data_digest"] = files_digest(self.root, files, self.cache_dir)
        counts = self.splits["split"].value_counts()
        return {
            "source": self.source,
            "stand_in": self.source in STAND_INS,
            **digest,
            "encoder": self.encoder,
            "grid": self.grid,
            "split": annotations.split if annotations else None,
            "num_images": {name: int(counts.get(name, 0)) for name in SPLITS},
            "num_captions": {name: int(captions.get(name, 0)) for name in SPLITS},
            "skipped_images": int(counts.get("skipped", 0)),
            "captions_without_words": annotations.no_words if annotations else None,
            "captions_without_picture": annotations.no_picture if annotations else None,
            "captions_cut": self.num_cut,
            "word_threshold": self.word_threshold,
            "vocabulary_size": len(self.vocabulary) if self._captions else None,
        }

    @property
    def feature_shape(self) -> tuple[int, int]:
        """Cells of an image and numbers of each, (P, C)."""
        _, cells, channels = self._ready().features.shape
        return int(cells), int(channels)

    def channel_statistics(self) -> tuple[Float32[np.ndarray, " channels"], Float32[np.ndarray, " channels"]]:
        """Return mean and standard deviation of each channel over training images, the first 1,000 at most."""
        found = self.features(self.rows("train")[:_JUDGED_IMAGES])
        return found.mean(axis=(0, 1), dtype=np.float32), found.std(axis=(0, 1), dtype=np.float32)

    def features(self, rows: np.ndarray) -> Float16[np.ndarray, "images cells channels"]:
        """Return the features of images, given by their rows in `splits`."""
        features: np.ndarray = self._ready().features[self._feature_rows[rows]]
        return features

    def references(self, rows: Sequence[int] | np.ndarray) -> list[list[str]]:
        """Return all captions of each image, as they stand in the files."""
        annotations, _ = self._read()
        return [annotations.captions[row] for row in rows]

    def image_path(self, row: int | np.int64) -> Path:
        """Return the file of an image."""
        return self.root / str(self.splits["file"].iloc[row])

    def _ready(self) -> Captions:
        if self._captions is None:
            raise RuntimeError("call prepare_data() and setup() first")
        return self._captions

    def _loader(self, split: str, *, shuffle: bool = False, one_each: bool = False) -> DataLoader[CaptionBatch]:
        captions = self._ready()
        chosen = (self.splits["split"] == split).to_numpy()[captions.image_rows]
        if one_each:  # an image's captions stand together
            chosen &= np.diff(captions.image_rows, prepend=-1) != 0
        order = self.batches(np.flatnonzero(chosen), shuffle=shuffle)
        return DataLoader(captions, sampler=order, batch_size=None)

    def train_dataloader(self) -> DataLoader[CaptionBatch]:
        """Every training caption once, in a new order each epoch."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[CaptionBatch]:
        """All captions of the images that choose the checkpoint."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[CaptionBatch]:
        """Each test image with its first caption."""
        return self._loader("test", one_each=True)
