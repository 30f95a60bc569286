"""What can fail in a run because of the machine, the data or a setting, so that its user can mend it."""

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from btrnn.data.captions.annotations import AnnotationError
from btrnn.data.captions.encoders import EncoderError
from btrnn.data.captions.features import FeatureError
from btrnn.data.captions.pictures import ImageError
from btrnn.data.captions.vocabulary import VocabularyError
from btrnn.data.mnist import MNISTError
from btrnn.data.video.decoding import DecoderMissingError, VideoError
from btrnn.engine.config import ConfigError
from btrnn.storage.files import ResultsError
from btrnn.tasks import NonFiniteLossError
from btrnn.tasks.caption_scores import ScorerError

# Their messages say what is wrong, where, and the way on; anything else is a defect, and ends with its traceback.
MENDABLE: tuple[type[Exception], ...] = (
    *(OSError, ConfigError, ResultsError, NonFiniteLossError, ScorerError),
    *(AnnotationError, DecoderMissingError, EncoderError, FeatureError, ImageError, MNISTError, VideoError),
    *(VocabularyError, MisconfigurationException, torch.OutOfMemoryError),
)
