"""The networks of the paper's tasks: plain modules that take any recurrent layer, an LSTM or a GRU of any map."""

from btrnn.models.captioner import Captioner
from btrnn.models.draw import DRAW
from btrnn.models.video_classifier import VideoClassifier

__all__ = ["DRAW", "Captioner", "VideoClassifier"]
