"""Settings that are valid individually but contradict each other."""

from collections.abc import Iterator

from keras_transfer.config.data import AudioDataConfig, DataConfig, PathKeys, SpeechDataConfig, TextDataConfig
from keras_transfer.config.heads import explain_head, explain_threshold
from keras_transfer.config.names import find_twins, show_name
from keras_transfer.config.schema import (
    AudioClassificationConfig,
    HeadConfig,
    ImageClassificationConfig,
    RecipeConfig,
    TextClassificationConfig,
    TextPretrainingConfig,
)
from keras_transfer.config.section import is_set
from keras_transfer.config.training import TrainingConfig
from keras_transfer.config.unused import find_unused


def find_contradictions(config: RecipeConfig) -> Iterator[str]:
    """Find settings that are valid individually but contradict each other.

    Yields:
        One message per contradiction, which starts with the path of a key.
    """
    training = config.training
    yield from _find_contradictions_of_targets(config)
    if isinstance(config, ImageClassificationConfig):
        yield from _find_contradictions_of_images(config)
    if isinstance(config.data, AudioDataConfig):
        yield from _find_contradictions_of_recordings(config.data)
    if isinstance(config, AudioClassificationConfig) and training.batch_size == 1 and config.augmentation.mixup:
        yield "training.batch_size: mixup needs a second recording in a batch. Use 2 or more, or turn it off."
    if isinstance(config, TextClassificationConfig):
        yield from _find_contradictions_of_lengths(config.data)
    if isinstance(config, TextPretrainingConfig):
        yield from _find_contradictions_of_pretraining(config)
    if _solves(config) and training.label_smoothing:
        yield "policy.head_solver: solve does not support training.label_smoothing. Use sgd, or a smoothing of 0."
    if isinstance(config.head, HeadConfig):
        yield from explain_head(config.head, config.data.target)
        yield from _find_contradictions_of_heads(config, config.head)
    if config.policy.name == "auto" and training.learning_rate == "auto":
        yield "training.learning_rate: policy.name=auto compares policies at one rate. Give it a number."
    yield from _find_contradictions_of_folds(config.data)
    yield from _find_contradictions_of_other_sources(config.data)
    yield from (f"{path}: {reason}. Leave it out." for path, reason in find_unused(config))
    yield from _find_contradictions_of_metrics(training, validates=config.data.validation != 0.0)


def _find_contradictions_of_metrics(training: TrainingConfig, *, validates: bool) -> Iterator[str]:
    """Check the rows that metrics are measured on; whether a metric exists is checked when the head is made."""
    # Recipes in run folders contain every default; in earlier versions, val_loss was the default.
    if training.keep == "last" and is_set(training, "keep_metric") and training.keep_metric != "val_loss":
        yield (
            f"training.keep_metric: training.keep=last uses no metric. Received: {training.keep_metric}. "
            "Leave it out, or set training.keep=best."
        )
    if validates:
        return
    if training.keep == "best" and not is_set(training, "keep_metric"):
        yield "training.keep: best needs validation rows, and data.validation is 0. Set training.keep=last."
    elif training.watches_keep_metric:
        yield (
            f"training.keep_metric: {training.keep_metric} is measured on validation rows, and data.validation is 0. "
            "Set training.keep=last, or data.validation."
        )
    if training.early_stopping and training.early_stopping.metric.startswith("val_"):
        metric = training.early_stopping.metric
        yield (
            f"training.early_stopping.metric: {metric} is measured on validation rows, and data.validation is 0. "
            f"Watch {metric.removeprefix('val_')}, or set data.validation."
        )


def _solves(config: RecipeConfig) -> bool:
    """Whether the recipe uses a solved head."""
    return getattr(config.policy, "head_solver", None) == "solve"


def _find_contradictions_of_targets(config: RecipeConfig) -> Iterator[str]:
    data, training = config.data, config.training
    yield from _find_contradictions_of_labels(data)
    if data.target != "class" and training.class_weights != "none":
        yield (
            f"training.class_weights: only classes have weights, and data.target is {data.target}. "
            "Use none; data.weight names a column of weights."
        )
    if data.target == "number" and training.label_smoothing:
        yield "training.label_smoothing: numbers have no labels. Use 0; head.loss=huber is robust to outliers."


def _find_contradictions_of_heads(config: RecipeConfig, head: HeadConfig) -> Iterator[str]:
    if _solves(config) and head.hidden is not None:
        yield "policy.head_solver: solve requires a linear head, and head.hidden is set. Use sgd, or leave it out."
    if _solves(config) and head.loss == "huber":
        yield "policy.head_solver: solve minimizes squared errors, and head.loss is huber. Use sgd, or squared_error."
    if config.data.target != "number" and head.loss != "squared_error":
        yield f"head.loss: {head.loss} is for numbers, and data.target is {config.data.target}. Leave it out."
    validates = config.data.validation != 0.0
    if head.threshold is not None:
        yield from explain_threshold(head.threshold, config.data.target, validates=validates)
    if head.coverage is not None and not validates:
        yield (
            f"head.coverage: sets and intervals are chosen on validation rows, and data.validation is 0. Received: "
            f"{head.coverage}. Set data.validation, or leave head.coverage out."
        )


def _find_contradictions_of_labels(data: DataConfig) -> Iterator[str]:
    columns = data.label_columns
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated:
        yield f"data.label: {', '.join(repeated)} is named twice. Name each column once."
    if data.target == "class" and len(columns) > 1:
        yield (
            f"data.label: data.target=class takes one column. Received: {', '.join(columns)}. "
            "Name one, or set data.target to multilabel or number."
        )
    if data.target != "class" and data.per_class is not None:
        yield f"data.per_class: it draws rows per class, and data.target is {data.target}. Leave it out."
    if data.target != "multilabel" and data.separator is not None:
        yield f"data.separator: only data.target=multilabel splits labels, and it is {data.target}. Leave it out."
    if data.target == "multilabel" and data.separator is not None and len(columns) > 1:
        yield "data.separator: it splits the labels of one column, and data.label names several. Leave one of them out."
    yield from _find_contradictions_of_names(data)


def _find_contradictions_of_names(data: DataConfig) -> Iterator[str]:
    """Check the names of classes and labels in a recipe; whether rows have them is checked when they are read."""
    if data.target not in ("class", "multilabel"):
        for key in ("classes", "relabel", "merge_labels"):
            if is_set(data, key) and not (key == "relabel" and isinstance(data.relabel, str)):
                yield f"data.{key}: {data.target}s have no classes, and data.target is {data.target}. Leave it out."
        return
    classes = data.classes or []
    repeated = sorted({name for name in classes if classes.count(name) > 1})
    if repeated:
        yield f"data.classes: {', '.join(repeated)} is listed twice. List each name once."
    elif data.merge_labels is not False and (twins := find_twins(classes)):
        yield (
            f"data.classes: {' and '.join(map(show_name, twins[0]))} differ only in case, blanks, Unicode form, "
            "invisible characters or the form of a number. List one, or set data.merge_labels=false."
        )
    if data.target == "class" and len(classes) == 1:
        yield f"data.classes: a classifier needs at least two. Received: {classes[0]}. List another one."
    blank = [old for old, new in data.renamed.items() if not new.strip()]
    if blank:
        yield f"data.relabel.{blank[0]}: the new name is blank. Give it a name."
    gone = [name for name in classes if name in data.renamed and name not in data.renamed.values()]
    if gone:
        yield f"data.classes: data.relabel renames {gone[0]} to {data.renamed[gone[0]]}. List the new name."


def _find_contradictions_of_folds(data: DataConfig) -> Iterator[str]:
    if data.folds is not None and data.own_source("test") is not None:
        yield "data.folds: each fold is the test set once, and data.test names a source. Leave one of them out."
    if data.repeats > 1 and data.folds is None and data.test == 0.0:
        yield "data.repeats: runs are compared by their test rows, and data.test is 0. Give it a share."
    if data.fold is not None and data.fold > (data.folds or 0):
        yield f"data.fold: there is no fold {data.fold} of data.folds={data.folds}. Count from 1 to data.folds."


def _find_contradictions_of_other_sources(data: DataConfig) -> Iterator[str]:
    if not isinstance(data, TextDataConfig):
        return
    for part in ("validation", "test"):
        other = data.own_source(part)
        for key in PathKeys.model_fields:
            if other is not None and is_set(other, key):
                yield f"data.{part}.{key}: a table of texts names no files. Leave it out."


def _find_contradictions_of_images(config: ImageClassificationConfig) -> Iterator[str]:
    augmentation = config.augmentation
    if augmentation.predict_flips and not (augmentation.horizontal_flip or augmentation.vertical_flip):
        yield "augmentation.predict_flips: no flip is on. Turn one on, or predict_flips off."
    if config.data.channels != 3:
        for name in ("saturation", "randaugment"):
            if getattr(augmentation, name):
                yield f"augmentation.{name}: it changes colours, and data.channels is {config.data.channels}. Use 0."
    if config.training.batch_size == 1 and (augmentation.mixup or augmentation.cutmix):
        yield "training.batch_size: mixup and cutmix need a second image in a batch. Use 2 or more, or turn both off."
    if config.data.target == "number" and augmentation.cutmix:
        yield (
            "augmentation.cutmix: a share of an image's area is not a share of a number, and data.target is number. "
            "Turn it off, or use mixup, which blends numbers too."
        )


def _find_contradictions_of_recordings(data: AudioDataConfig) -> Iterator[str]:
    if data.seconds != "auto" and data.seconds > data.max_seconds:
        yield (
            f"data.max_seconds: longer recordings are refused, and data.seconds is {data.seconds:g}. Received: "
            f"{data.max_seconds:g}. Use {data.seconds:g} or more."
        )
    if data.start is not None and data.start == data.end:
        yield f"data.end: clips start and end in two columns. Received: {data.end} for both. Name the other one."
    taken = {**dict.fromkeys(data.label_columns, "data.label"), data.path: "data.path", "split": "the split"}
    for key in ("start", "end"):
        column = getattr(data, key)
        if column in taken:
            yield f"data.{key}: column {column!r} is that of {taken[column]}. Name the column of times in seconds."
    if isinstance(data, SpeechDataConfig):
        for key in ("path", "bytes", "group", "split", "weight"):
            if data.label == getattr(data, key):
                yield f"data.label: column {data.label!r} is that of data.{key}. Name the column of transcripts."
        if data.padding != "silence":
            yield "data.padding: repeated speech would not match its transcript. Received: repeat. Leave it out."
        if data.image_size is not None:
            yield "data.image_size: it is for networks for images, which cannot transcribe. Leave it out."


def _find_contradictions_of_lengths(data: TextDataConfig) -> Iterator[str]:
    length, predicted = data.sequence_length, data.predict_length
    if isinstance(length, int) and isinstance(predicted, int) and predicted < length:
        yield (
            f"data.predict_length: it must not be less than data.sequence_length={length}. Received: {predicted}. "
            f"Use {length} or more, or leave it out."
        )


def _find_contradictions_of_pretraining(config: TextPretrainingConfig) -> Iterator[str]:
    if config.data.target != "class":
        yield f"data.target: pre-training has no labels. Received: {config.data.target}. Leave it out."
    if config.data.per_class is not None:
        yield "data.per_class: pre-training uses all texts and no classes. Leave it out."
    if config.data.predict_length is not None:
        yield "data.predict_length: pre-training has no predictions for texts. Leave it out."
    if _solves(config):
        yield "policy.head_solver: solve requires a classifier, and pre-training has none. Use sgd, or leave it out."
    if config.training.label_smoothing:
        yield "training.label_smoothing: pre-training has no labels to smooth. Use 0."
    if config.training.class_weights != "none":
        yield "training.class_weights: pre-training has no classes. Use none."
    if config.export.formats:
        yield (
            "export.formats: pre-training has no model to serve. Use [], and set backbone.weights of the next recipe "
            "to the run folder."
        )
