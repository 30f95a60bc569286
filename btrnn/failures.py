"""What can fail in a run because of the machine, the data or a setting, so that its user can mend it."""

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from btrnn.config import ConfigError
from btrnn.data.annotations import AnnotationError
from btrnn.data.encoders import EncoderError
from btrnn.data.features import FeatureError
from btrnn.data.mnist import MNISTError
from btrnn.data.pictures import ImageError
from btrnn.data.video import DecoderMissingError, VideoError
from btrnn.data.vocabulary import VocabularyError
from btrnn.files import ResultsError
from btrnn.metrics import ScorerError
from btrnn.tasks import NonFiniteLossError

# Their messages say what is wrong, where, and the way on; anything else is a defect, and ends with its traceback.
MENDABLE: tuple[type[Exception], ...] = (
    *(OSError, ConfigError, ResultsError, NonFiniteLossError, ScorerError),
    *(AnnotationError, DecoderMissingError, EncoderError, FeatureError, ImageError, MNISTError, VideoError),
    *(VocabularyError, MisconfigurationException, torch.OutOfMemoryError),
)
