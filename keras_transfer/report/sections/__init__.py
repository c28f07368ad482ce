"""The sections of the page, in their order.

A section is made by a function from :class:`Content` to a :class:`Section`, or to None if the run has nothing to show
there. It fills in a template of ``report/templates``; code for the kind of target depends on the report's type
(``functools.singledispatch``), code for the kind of example is in the run's task.
"""

from collections.abc import Callable

from keras_transfer.report.content import Content
from keras_transfer.report.html import Section
from keras_transfer.report.sections.abstention import abstention
from keras_transfer.report.sections.calibration import calibration
from keras_transfer.report.sections.classes import counts, per_class
from keras_transfer.report.sections.confusion import confusion
from keras_transfer.report.sections.examples import largest_losses
from keras_transfer.report.sections.findings import repeated_examples, suspicious_labels
from keras_transfer.report.sections.overview import details, overview, runs
from keras_transfer.report.sections.quantized import quantized
from keras_transfer.report.sections.residuals import residuals
from keras_transfer.report.sections.thresholds import thresholds
from keras_transfer.report.sections.training import learning_curve, training_curves
from keras_transfer.report.sections.transcripts import error_rates, error_rates_by, frequent_errors, worst_transcripts

SECTIONS: tuple[Callable[[Content], Section | None], ...] = (
    overview,
    runs,
    error_rates,
    confusion,
    per_class,
    largest_losses,
    worst_transcripts,
    frequent_errors,
    error_rates_by,
    residuals,
    thresholds,
    calibration,
    abstention,
    training_curves,
    suspicious_labels,
    repeated_examples,
    counts,
    learning_curve,
    quantized,
    details,
)
