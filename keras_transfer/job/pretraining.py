"""What is judged of a network that learned from texts without labels."""

from collections.abc import Sequence

from keras_transfer.heads import Head, evaluate_masked
from keras_transfer.heads.evaluation import Report
from keras_transfer.job.job import Job, Trained


class PretrainingJob(Job):
    """A job without labels: the network learns to find masked tokens again."""

    def judge(self, trained: Trained) -> tuple[Head, Sequence[Report]]:
        """Mask tokens of validation and test rows, and see which are found.

        Args:
            trained: What :meth:`train` gave.

        Returns:
            The head, and a report a split.
        """
        batch_size = self.config.training.batch_size
        reports = [
            evaluate_masked(
                self.model.predictor,
                self.reader.evaluation_batches(split, batch_size=batch_size),
                split=split.name,
                n=len(split),
            )
            for split in (self.splits.validation, self.splits.test)
            if len(split)
        ]
        return self.model.head, reports
