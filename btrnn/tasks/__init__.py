"""What each task optimises and reports: losses, metrics and optimisers, as LightningModules."""

from btrnn.tasks.captioning import Captioning
from btrnn.tasks.generation import Generation
from btrnn.tasks.task import NonFiniteLossError, Outputs, Task
from btrnn.tasks.video import VideoClassification

__all__ = ["Captioning", "Generation", "NonFiniteLossError", "Outputs", "Task", "VideoClassification"]
