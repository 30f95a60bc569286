"""Task 2, image generation: the bound on the negative log-likelihood of binary images, in nats."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from btrnn.data.mnist import MNIST, ImageBatch
from btrnn.data.module import DataModule
from btrnn.models.attention import GaussianRead, GaussianWrite
from btrnn.models.draw import DRAW, DRAWOutput
from btrnn.nn.lstm import LSTM
from btrnn.storage.atomic import replace_file
from btrnn.storage.files import arrays_bytes
from btrnn.tasks.task import Measured, Outputs, Task, warmed_up_adam

NUM_SAMPLES = 100  # images drawn from the prior after a test
NUM_SHOWN = 10  # of them with all canvases, and test images with their reconstructions
_TEST_SEED = 0  # of the latents in a test and of the samples: the same for all models and seeds


class Generation(Task):
    """The bound of DRAW (Gregor et al., 2015), and the samples of what was learnt.

    Args:
        network: DRAW.
        learning_rate: Adam's rate after a linear warm-up of 100 steps; it then falls linearly to 2 % of it.
        decay_epochs: Epochs after which it has fallen; those of the run without it.
        importance_samples: At test, also estimate the likelihood by so many importance samples an image; 0 does not.
        judged_samples: At test, also let a classifier of digits judge so many samples, see `digit_scores`; 0 does not.
        scaled: Whether each layer gets its own rate by `btrnn.nn.rates`.

    Raises:
        ValueError: A number of samples is negative.
    """

    metrics = (
        *("train/nll_bound", "train/reconstruction", "train/kl"),
        *("val/nll_bound", "val/reconstruction", "val/kl"),
    )
    monitor = "val/nll_bound"

    def __init__(
        self,
        network: DRAW,
        *,
        learning_rate: float,
        decay_epochs: int | None = None,
        importance_samples: int = 0,
        judged_samples: int = 0,
        scaled: bool = False,
    ) -> None:
        super().__init__()
        if min(importance_samples, judged_samples) < 0:
            given = f"importance_samples={importance_samples} and judged_samples={judged_samples}"
            raise ValueError(f"{given}: a number of samples is not negative; 0 does without")
        self.network = network
        self.learning_rate, self.decay_epochs, self.scaled = learning_rate, decay_epochs, scaled
        self.importance_samples, self.judged_samples = importance_samples, judged_samples

    @property
    def recurrent(self) -> LSTM:
        """The encoder."""
        return self.network.encoder

    def check_data(self, data: MNIST) -> None:
        """All of the data sets have images of one size, which the network's own check knows."""

    def facts(self) -> dict[str, object]:
        """Return what kind of DRAW it is."""
        return {
            "num_glimpses": self.network.num_glimpses,
            "attention": self._attention(),
            "latent_size": self.network.latent_size,
        }

    def _attention(self) -> str:
        read, write = self.network.read, self.network.write
        sizes = [
            f"{verb} {module.filter_size}x{module.filter_size}"
            for verb, module in (("read", read), ("write", write))
            if isinstance(module, GaussianRead | GaussianWrite)
        ]
        return ", ".join(sizes) or "none"

    def measure(self, batch: ImageBatch) -> Measured:
        """Compute the mean bound and its two parts."""
        output: DRAWOutput = self.network(batch.images)
        reconstruction, kl = output.reconstruction.mean(), output.divergences.sum(dim=1).mean()
        loss = reconstruction + kl
        metrics = {"nll_bound": loss, "reconstruction": reconstruction, "kl": kl}
        return Measured(loss, metrics, len(batch.rows))

    def repeats(self, batch: ImageBatch) -> bool:  # noqa: ARG002
        """All batches of a size are alike."""
        return True

    def on_test_start(self) -> None:
        """Draw the latents of every test from one seed, so that a test done again gives the same numbers."""
        torch.manual_seed(_TEST_SEED)

    def test_step(self, batch: ImageBatch, batch_idx: int) -> None:
        """Log the bound on the test split, and the tighter estimate if that is asked for; the bound is the same."""
        self.loss(batch, "test")
        if self.importance_samples:
            with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
                torch.manual_seed(_TEST_SEED + 1 + batch_idx)  # else batches would share most of their samples
                nll = self.network.importance_weighted_nll(batch.images, self.importance_samples)
            self.log("test/nll_importance", nll.mean(), on_step=False, on_epoch=True, batch_size=len(batch.rows))

    def on_test_epoch_end(self) -> None:
        """Log what a classifier makes of samples, and of as many of the test images, if it is asked for."""
        if not self.judged_samples:
            return
        data: MNIST = self.trainer.datamodule  # type: ignore[attr-defined]
        train, test = (data.splits[data.splits["split"] == split] for split in ("train", "test"))
        drawn = self.network.generate(self.judged_samples, torch.Generator().manual_seed(_TEST_SEED))[-1]
        images = {"": drawn.cpu().numpy(), "_true": data.grey(test.index.to_numpy()[: self.judged_samples]) / 255}
        judge = digit_classifier(data.grey(train.index.to_numpy()) / 255, train["label"])
        for suffix, judged in images.items():
            scores = digit_scores(judge.predict_proba(judged))
            self.log_dict({f"test/{name}{suffix}": score for name, score in scores.items()})

    @torch.no_grad()
    def outputs(self, data: MNIST) -> Outputs:
        """Return grey levels, uint8: samples, the canvases of some, test images, and what is made of them.

        samples: (100, 28, 28) drawn from the prior.
        canvases: (T, 10, 28, 28), the first ten of the samples after each glimpse.
        originals, reconstructions: (10, 28, 28), a test image of each class, binary, and sigmoid(c_T) of them.
        """
        canvases = self.network.generate(NUM_SAMPLES, torch.Generator().manual_seed(_TEST_SEED))
        originals = data.test_examples(NUM_SHOWN).images.to(self.device)
        torch.manual_seed(_TEST_SEED)
        reconstructions = self.network(originals).canvases[-1].sigmoid()
        return {
            "samples": self._grey(canvases[-1]),
            "canvases": self._grey(canvases[:, :NUM_SHOWN]),
            "originals": self._grey(originals),
            "reconstructions": self._grey(reconstructions),
        }

    def _grey(self, probabilities: Tensor) -> np.ndarray:
        """Turn (.., pixels) in [0, 1] into (.., rows, columns) of grey levels."""
        levels: np.ndarray = (255 * probabilities).round().to(torch.uint8).cpu().numpy()
        return levels.reshape(*levels.shape[:-1], *self.network.image_shape)

    def write_outputs(self, run_dir: Path, data: DataModule, chosen: Outputs, last: Outputs) -> None:  # noqa: ARG002
        """Write arrays.npz: the pictures."""
        replace_file(run_dir / "arrays.npz", arrays_bytes(chosen))

    def media(self, data: MNIST, chosen: Outputs) -> dict[str, Any]:  # noqa: ARG002
        """Return the pictures."""
        import wandb

        rows = {
            "test/samples": chosen["samples"].reshape(10, 10, 28, 28),
            "test/canvases": chosen["canvases"],
            "test/reconstructions": np.stack([chosen["originals"], chosen["reconstructions"]]),
        }
        return {name: wandb.Image(np.block([list(row) for row in images])) for name, images in rows.items()}

    def configure_optimizers(self) -> Any:
        """Return Adam with a warm-up and a decay."""
        return warmed_up_adam(self, self.decay_epochs)


def digit_classifier(images: NDArray[np.floating[Any]], labels: Any) -> Any:
    """Fit a network with a hidden layer of 256 to digits; ten times over them.

    Args:
        images: (n, pixels) in [0, 1].
        labels: (n,).
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    classifier = MLPClassifier(256, max_iter=10, random_state=_TEST_SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # ten epochs do: 97.5 % of MNIST's test digits are right
        return classifier.fit(images, labels)


def digit_scores(probabilities: NDArray[np.floating[Any]]) -> dict[str, float]:
    """Judge images by the probabilities that a classifier gives them.

    Args:
        probabilities: (n, classes), rows of sum 1.

    Returns:
        digit_confidence: the mean of the highest probability. digit_score: exp of the mean divergence of an image's
        probabilities from those of all images (the "Inception score" of Salimans et al., 2016), from 1, where all
        images are alike to the classifier, to the number of classes, where each is one of them beyond doubt and all
        are as frequent.
    """
    rows = np.clip(probabilities, np.finfo(np.float64).tiny, 1.0)
    divergence = (rows * (np.log(rows) - np.log(rows.mean(axis=0)))).sum(axis=1).mean()
    return {"digit_score": float(np.exp(divergence)), "digit_confidence": float(rows.max(axis=1).mean())}
