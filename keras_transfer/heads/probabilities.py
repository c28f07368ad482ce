"""What heads that predict probabilities share: calibration."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from keras_transfer.data.targets.base import Targets
from keras_transfer.heads.evaluation import Floats
from keras_transfer.heads.reliability import CalibrationReport, Measured, Reliability, measure_probabilities
from keras_transfer.heads.reliability import reliability as find_reliability
from keras_transfer.heads.target import TargetHead
from keras_transfer.networks.types import Array


@dataclass(frozen=True)
class ProbabilityHead(TargetHead, ABC):
    """A head that predicts probabilities, which are calibrated with a temperature."""

    @abstractmethod
    def outcomes(self, predicted: Floats, targets: Targets) -> tuple[Floats, Array]:
        """Return the confidence of predictions, and whether they are right, both ``[n, k]``.

        Args:
            predicted: ``float32[n, outputs]``.
        """

    @abstractmethod
    def brier_scores(self, predicted: Floats, targets: Targets) -> Floats:
        """Return the Brier score of each row, ``float64[n]``, whose mean equals scikit-learn's."""

    def measure_calibration(self, predicted: Floats, targets: Targets) -> CalibrationReport:
        """Return log loss, Brier score and expected calibration error before and after calibration."""
        before = self._measure(self.uncalibrated(predicted), targets)
        if self.calibration is None:
            return CalibrationReport(None, before, {})
        return CalibrationReport(self.calibration.fitted, before, self._measure(predicted, targets))

    def _measure(self, predicted: Floats, targets: Targets) -> dict[str, Measured]:
        confidence, happened = self.outcomes(predicted, targets)
        losses, scores = self.row_losses(predicted, targets), self.brier_scores(predicted, targets)
        return measure_probabilities(losses, scores, confidence, happened)

    def reliability(self, predicted: Floats, targets: Targets) -> Reliability:
        """Return confidence and accuracy by bins of confidence, before and after calibration."""
        before = find_reliability(*self.outcomes(self.uncalibrated(predicted), targets))
        after = find_reliability(*self.outcomes(predicted, targets)) if self.calibration else ()
        return Reliability(before, after)
