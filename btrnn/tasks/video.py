"""Task 1, action recognition: cross-entropy on clips."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from btrnn.data.module import ClipData, VideoBatch
from btrnn.models import VideoClassifier
from btrnn.nn.recurrent import Recurrent
from btrnn.storage.atomic import replace_file
from btrnn.tasks.task import Measured, Outputs, Task


class VideoClassification(Task):
    """Cross-entropy on clips, with the optimiser of the paper's released code.

    Args:
        network: The classifier.
        learning_rate: Adam's rate at step 0.
        learning_rate_decay: k in lr_t = lr / (1 + k t) at step t, as in the released code.
        scaled: Whether each layer gets its own rate by `btrnn.nn.rates`.
        classifier_l2: The loss has this times the sum of squares of the classifier's weight, and so does every
            logged loss.
    """

    metrics = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")

    def __init__(
        self,
        network: VideoClassifier,
        *,
        learning_rate: float,
        learning_rate_decay: float,
        classifier_l2: float,
        scaled: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.learning_rate, self.learning_rate_decay = learning_rate, learning_rate_decay
        self.classifier_l2, self.scaled = classifier_l2, scaled
        self.test_predictions: list[tuple[Tensor, Tensor]] = []  # (rows of the clip table, predicted labels)

    def _scores(self, batch: VideoBatch) -> Tensor:
        """Return the scores of the classes, (B, classes)."""
        scores: Tensor = self.network(batch.frames, None if batch.whole else batch.mask)
        return scores

    def _measured(self, scores: Tensor, batch: VideoBatch) -> Measured:
        penalty = self.classifier_l2 * self.network.classifier.weight.square().sum()
        loss = F.cross_entropy(scores, batch.labels) + penalty
        accuracy = (scores.argmax(dim=-1) == batch.labels).float().mean()
        return Measured(loss, {"loss": loss, "accuracy": accuracy}, len(batch.labels))

    @property
    def recurrent(self) -> Recurrent:
        """The layer that reads the frames."""
        return self.network.recurrent

    def check_data(self, data: ClipData) -> None:
        """Check that the layer reads a frame, and that there is a score for each class."""
        size = self.recurrent.input_size
        if size != data.input_size:
            raise ValueError(
                f"modes.input multiply to {size:,}, but a frame has {data.input_size:,} values; "
                "modes whose product is that would fit"
            )
        scores = self.network.classifier.out_features
        if scores != data.num_classes:
            raise ValueError(f"the network has {scores} classes, but the data have {data.num_classes}")

    def measure(self, batch: VideoBatch) -> Measured:
        """Compute the loss and the accuracy."""
        return self._measured(self._scores(batch), batch)

    def repeats(self, batch: VideoBatch) -> bool:
        """Return whether no clip is shorter than the others: those are packed, by numbers that the CPU must know."""
        return batch.whole

    def on_test_start(self) -> None:
        """Forget the predictions of an earlier test."""
        self.test_predictions.clear()

    def test_step(self, batch: VideoBatch) -> None:
        """Log loss and accuracy on the test split, and keep the predictions."""
        scores = self._scores(batch)
        self.logged(self._measured(scores, batch), "test")
        self.test_predictions.append((batch.clips.cpu(), scores.argmax(dim=-1).cpu()))

    def outputs(self, data: ClipData) -> Outputs:  # noqa: ARG002
        """Return the last test's rows of the clip table and the labels predicted for them, int (clips,) each."""
        rows, predicted = zip(*self.test_predictions, strict=True)
        return {"rows": torch.cat(rows).numpy(), "predicted": torch.cat(predicted).numpy()}

    def write_outputs(self, run_dir: Path, data: ClipData, chosen: Outputs, last: Outputs) -> None:
        """Write predictions.csv, a row for each test clip."""
        added = {"predicted": chosen["predicted"]} | ({"predicted_last": last["predicted"]} if last else {})
        table = data.splits.loc[chosen["rows"], ["clip", "group", "label"]].assign(**added)
        replace_file(run_dir / "predictions.csv", table.to_csv(index=False))

    def media(self, data: ClipData, chosen: Outputs) -> dict[str, Any]:
        """Return the confusion matrix."""
        import wandb

        labels = data.splits.loc[chosen["rows"], "label"].tolist()
        matrix = wandb.plot.confusion_matrix(
            y_true=labels, preds=chosen["predicted"].tolist(), class_names=data.class_names
        )
        return {"test/confusion_matrix": matrix}

    def configure_optimizers(self) -> Any:
        """Return Adam with the released code's decay, stepped at every batch."""
        optimizer = self.adam()
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + self.learning_rate_decay * step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
