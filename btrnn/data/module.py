"""What a run asks of any task's data."""

from abc import ABC, abstractmethod

import pandas as pd
from lightning.pytorch import LightningDataModule


class DataModule(LightningDataModule, ABC):
    """Batches of three splits, and what is to be said of them.

    Attributes:
        splits: A row for each example, with at least the column "split".
    """

    splits: pd.DataFrame

    @property
    def chosen_on_test(self) -> bool:
        """Whether validation is done on the test split."""
        return False

    @property
    def last_tested(self) -> bool:
        """Whether the last weights are tested beside the chosen ones."""
        return self.chosen_on_test

    @abstractmethod
    def facts(self) -> dict[str, object]:
        """Say what a run's summary tells of its data; at least "source" and "stand_in"."""
