"""How good a job's model is, and what fine-tuning gained over the solved head."""

from dataclasses import replace

from keras_transfer.data.splits.splits import Split
from keras_transfer.frozen.baseline import Baseline
from keras_transfer.heads import TargetHead
from keras_transfer.heads.evaluation import Report, measure_gain
from keras_transfer.tasks.base import Evaluation


def add_gains(evaluation: Evaluation, splits: list[Split], baseline: Baseline, *, seconds: float) -> Evaluation:
    """Say in each report what training gained over the solved head."""
    head = evaluation.head
    if not isinstance(head, TargetHead):
        return evaluation

    # The solved head has a temperature and thresholds of its own, chosen on the same rows.
    validation = [split for split in splits if split.name == "validation"]
    solved = replace(head, calibration=None)
    if validation:
        solved = solved.calibrate(baseline.predicted["validation"], validation[0].targets)

    def add(report: Report, split: Split) -> Report:
        gain = measure_gain(
            head.figure,
            lambda rows, counts: head.score(rows, split.targets, counts),
            evaluation.predicted[split.name],
            solved.calibrated(baseline.predicted[split.name]),
            head_seconds=baseline.seconds,
            head_score=lambda rows, counts: solved.score(rows, split.targets, counts),
            seconds=seconds,
        )
        return replace(report, gain=gain)

    pairs = zip(evaluation.reports, splits, strict=True)
    return replace(evaluation, reports=tuple(add(report, split) for report, split in pairs))
