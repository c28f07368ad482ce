"""From YAML and overrides to a checked recipe, and back to YAML."""

import copy
import difflib
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from keras_transfer.config.schema import (
    METRICS,
    SCHEMAS,
    DataConfig,
    HeadConfig,
    ImageClassificationConfig,
    RecipeConfig,
    TextClassificationConfig,
    TextDataConfig,
    TextPretrainingConfig,
)
from keras_transfer.errors import ConfigError
from keras_transfer.registry import did_you_mean


def _find_contradictions(config: RecipeConfig) -> Iterator[str]:
    """Settings that are right one by one, and wrong together."""
    training = config.training
    yield from _find_contradictions_of_targets(config)
    if isinstance(config, ImageClassificationConfig):
        yield from _find_contradictions_of_pictures(config)
    if isinstance(config, TextClassificationConfig):
        yield from _find_contradictions_of_lengths(config.data)
    if isinstance(config, TextPretrainingConfig):
        yield from _find_contradictions_of_pretraining(config)
    if config.policy.head_solver == "solve" and training.label_smoothing:
        yield "policy.head_solver: solve knows no training.label_smoothing. Use sgd, or a smoothing of 0."
    if isinstance(config.head, HeadConfig):
        yield from _find_contradictions_of_heads(config, config.head)
    if config.policy.budget_seconds is not None and config.policy.name != "auto":
        yield (f"policy.budget_seconds: policy.name={config.policy.name} keeps to no budget. Use auto, or no budget.")
    if config.policy.name == "auto" and training.learning_rate == "auto":
        yield "training.learning_rate: policy.name=auto tries policies at one rate. Give it a number, or name a policy."
    yield from _find_contradictions_of_folds(config.data)
    if config.data.validation != 0.0:
        return
    if training.keep == "best":
        yield "training.keep: best needs validation rows, and data.validation is 0. Set training.keep=last."
    if training.early_stopping and training.early_stopping.metric.startswith("val_"):
        yield (
            f"training.early_stopping.metric: {training.early_stopping.metric} is measured on validation rows, and "
            f"data.validation is 0. Watch loss or {METRICS[config.data.target]}, or set data.validation."
        )


def _find_contradictions_of_targets(config: RecipeConfig) -> Iterator[str]:
    data, training = config.data, config.training
    yield from _find_contradictions_of_labels(data)
    metric = METRICS[data.target]
    watched = training.early_stopping.metric if training.early_stopping else "loss"
    if watched.removeprefix("val_") not in ("loss", metric):
        yield (
            f"training.early_stopping.metric: {watched} is not measured with data.target={data.target}. "
            f"Watch val_loss, val_{metric}, loss or {metric}."
        )
    if data.target != "class" and training.class_weights != "none":
        yield (
            f"training.class_weights: {training.class_weights} needs classes, and data.target is {data.target}. "
            "Use none; data.weight names a column of weights."
        )
    if data.target == "number" and training.label_smoothing:
        yield "training.label_smoothing: numbers have no labels to smooth. Use 0; head.loss=huber bears outliers."


def _find_contradictions_of_heads(config: RecipeConfig, head: HeadConfig) -> Iterator[str]:
    if config.policy.head_solver == "solve" and head.hidden is not None:
        yield "policy.head_solver: solve takes a linear head, and head.hidden is set. Use sgd, or no head.hidden."
    if config.policy.head_solver == "solve" and head.loss == "huber":
        yield "policy.head_solver: solve minimises squared errors, and head.loss is huber. Use sgd, or squared_error."
    if config.data.target != "number" and head.loss != "squared_error":
        yield f"head.loss: {head.loss} is for numbers, and data.target is {config.data.target}. Leave it out."


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
        yield f"data.per_class: it draws rows of each class, and data.target is {data.target}. Leave it out."
    if data.target != "multilabel" and data.separator is not None:
        yield f"data.separator: only data.target=multilabel divides labels. Received: data.target={data.target}."
    if data.target == "multilabel" and data.separator is not None and len(columns) > 1:
        yield "data.separator: it divides the labels of one column, and data.label names several. Drop one of the two."
    if data.target == "multilabel" and data.separator is None and isinstance(data.label, str):
        yield (
            f"data.label: data.target=multilabel takes a list of columns of 0 and 1, or data.separator. Received: "
            f"{data.label!r}. Write data.label=[a, b], or say by data.separator what divides the labels of one column."
        )


def _find_contradictions_of_folds(data: DataConfig) -> Iterator[str]:
    if data.folds is not None and isinstance(data.test, str):
        yield "data.folds: every fold is the test rows once, and data.test names a source. Leave one of them out."
    if data.repeats > 1 and data.folds is None and data.test == 0.0:
        yield "data.repeats: runs are compared by their test rows, and data.test is 0. Give it a share."
    if data.fold is not None and data.fold > (data.folds or 0):
        yield f"data.fold: there is no fold {data.fold} of data.folds={data.folds}. Count from 1 to data.folds."


def _find_contradictions_of_pictures(config: ImageClassificationConfig) -> Iterator[str]:
    augmentation = config.augmentation
    if augmentation.predict_flips and not (augmentation.horizontal_flip or augmentation.vertical_flip):
        yield "augmentation.predict_flips: no flip is on. Turn one on, or predict_flips off."
    if config.data.channels != 3:
        for name in ("saturation", "randaugment"):
            if getattr(augmentation, name):
                yield f"augmentation.{name}: it changes colours, and data.channels is {config.data.channels}. Use 0."
    if config.training.batch_size == 1 and (augmentation.mixup or augmentation.cutmix):
        yield "training.batch_size: mixup and cutmix need a second picture in a batch. Use 2 or more, or turn both off."
    if config.data.target == "number" and augmentation.cutmix:
        yield (
            "augmentation.cutmix: a share of a picture's area is no share of a number, and data.target is number. "
            "Turn it off; mixup blends numbers as it blends pictures."
        )


def _find_contradictions_of_lengths(data: TextDataConfig) -> Iterator[str]:
    length, predicted = data.sequence_length, data.predict_length
    if isinstance(length, int) and isinstance(predicted, int) and predicted < length:
        yield (
            f"data.predict_length: texts are cut to {length} tokens in training, and no shorter when they are "
            f"predicted. Received: {predicted}. Use {length} or more, or leave it out."
        )


def _find_contradictions_of_pretraining(config: TextPretrainingConfig) -> Iterator[str]:
    if config.data.target != "class":
        yield f"data.target: pre-training has no labels. Received: {config.data.target}. Leave it out."
    if config.data.per_class is not None:
        yield "data.per_class: pre-training looks at no classes, and learns from all texts. Leave it out."
    if config.data.predict_length is not None:
        yield "data.predict_length: pre-training leaves nothing that predicts texts. Leave it out."
    if config.policy.name == "auto":
        yield "policy.name: auto compares classifiers, and pre-training has none. Use full, or another policy."
    if config.policy.head_solver == "solve":
        yield "policy.head_solver: solve takes a classifier, and pre-training has none. Use sgd, or leave it out."
    if config.training.label_smoothing:
        yield "training.label_smoothing: pre-training has no labels to smooth. Use 0."
    if config.training.class_weights != "none":
        yield "training.class_weights: pre-training has no classes. Use none."
    if config.export.formats:
        yield (
            "export.formats: pre-training leaves nothing to serve. Use [], and name the run folder as backbone.weights "
            "of the recipe that is to be served."
        )


def parse_recipe(values: Mapping[str, Any], *, known: Mapping[str, Iterable[str]], where: str) -> RecipeConfig:
    """Check a recipe's values and fill in the defaults.

    Args:
        values: Nested sections as they come out of YAML.
        known: For each dotted path that names a registered thing, the names there are.
        where: What the values come from, for messages: a file or "the arguments".

    Returns:
        The recipe.

    Raises:
        ConfigError: All mistakes at once, a line each, with its path and the nearest known name.
    """
    task = values.get("task")
    schema = _find_schema(task)
    if schema is None:
        problem = "missing" if task is None else f"there is no {_shown(task)}"
        raise ConfigError(f"{where} has a mistake:\n  task: {problem}. {did_you_mean(str(task), SCHEMAS)}")
    unknown = {}
    for path, names in {"task": SCHEMAS, **known}.items():
        value = _value_at(values, path)
        if isinstance(value, str) and value not in (names := list(names)):
            unknown[path] = f"{path}: there is no {value!r}. {did_you_mean(value, names)}"
    problems = list(unknown.values())
    config: RecipeConfig | None
    try:
        config = schema.model_validate(values)
    except ValidationError as error:
        problems += [line for path, line in _explain(error, schema).items() if path not in unknown]
        config = _salvage(values, error, schema)
    problems += _find_contradictions(config) if config else []
    if problems or config is None:
        count = "a mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        raise ConfigError(f"{where} has {count}:\n" + "\n".join(f"  {line}" for line in problems))
    return config


def _find_schema(task: object) -> type[RecipeConfig] | None:
    """The schema of a task; of the nearest one where its name is misspelt, so that other mistakes are told along."""
    nearest = difflib.get_close_matches(str(task), SCHEMAS, n=1)
    return SCHEMAS[nearest[0]] if nearest else None


def _salvage(values: Mapping[str, Any], error: ValidationError, schema: type[RecipeConfig]) -> RecipeConfig | None:
    """What a recipe says without its mistakes, so that contradictions in the rest are told along with them."""
    rest = copy.deepcopy(dict(values))
    for detail in error.errors(include_url=False):
        section: Any = rest
        for key in detail["loc"]:
            if not isinstance(section, dict) or not isinstance(section.get(key), dict):
                break
            section = section[key]
        if isinstance(section, dict):
            section.pop(key, None)
    try:
        return schema.model_validate(rest)
    except ValidationError:  # a key that cannot be done without is missing
        return None


def _value_at(values: object, path: str) -> object:
    for key in path.split("."):
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def _explain(error: ValidationError, schema: type[RecipeConfig]) -> dict[str, str]:
    """A line a key: a union of types gives one error a type, which are told together."""
    messages: dict[str, list[str]] = {}
    for detail in error.errors(include_url=False):
        names = [str(part) for part in detail["loc"]]
        if detail["type"] in ("extra_forbidden", "invalid_key"):
            names = [name for name in names if name != "[key]"]
            message = f"unknown key. {did_you_mean(names[-1], _keys_at(names[:-1], schema))}"
        elif detail["type"] == "missing":
            message = "missing. Give it a value."
        elif detail["type"] == "model_type":
            keys = _listed(_keys_at(names, schema))
            message = f"a section of keys is due here. Received: {_shown(detail['input'])}. Keys: {keys}."
        else:
            # A union puts the type that it tried behind the key, as in data.test.float.
            names = [*names[:2], *(name for name in names[2:3] if not _UNION_TAG.fullmatch(name)), *names[3:]]
            message = f"{detail['msg'][0].lower()}{detail['msg'][1:]}. Received: {_shown(detail['input'])}."
        messages.setdefault(".".join(names), []).append(message)
    return {path: f"{path}: {' Or: '.join(texts)}" for path, texts in messages.items()}


_UNION_TAG = re.compile(r"(constrained-)?(float|int|str)|(literal|dict|list)\[.*\]")


def _shown(value: object) -> str:
    """A short form: YAML's aliases make values of a few bytes whose full form fills a memory."""
    short = reprlib.Repr()
    short.maxstring, short.maxother, short.maxlevel = 80, 80, 2
    return short.repr(value)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _keys_at(path: Sequence[str], schema: type[RecipeConfig]) -> list[str]:
    section: type[BaseModel] = schema
    for key in path:
        annotation = section.model_fields[key].annotation
        candidates = [annotation, *get_args(annotation)]
        section = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), section)
    return list(section.model_fields)


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which moreover refuses a key that stands twice and reads 1e-3 as a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key if isinstance(key, str) else None)
        return super().construct_mapping(node, deep)


# YAML 1.1, which PyYAML follows, wants a dot in a float: 1e-3 would be a string.
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _load_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = str(error.problem or error)
        if "could not determine a constructor" in problem:
            problem = "a recipe is plain data: YAML tags (!...) are refused"
        raise ConfigError(f"{where}{line}: {problem}. Mend the YAML there.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is no YAML: {str(error).splitlines()[0]}. Save it as plain UTF-8 text.") from error


def read_recipe(file: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a recipe file and apply overrides; nothing is checked but the form.

    Args:
        file: The YAML file.
        overrides: ``section.key=value`` each, the value in YAML.

    Returns:
        Nested sections.

    Raises:
        ConfigError: The file cannot be read, does not parse, or an override has no ``=``.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"Recipe {file} cannot be read: {reason}. Name a recipe file.") from error
    values = _load_yaml(text, str(file))
    if not isinstance(values, dict):
        raise ConfigError(
            f"{file} holds no recipe: sections such as `task:` and `data:` are due. See `keras-transfer list`."
        )
    for override in overrides:
        _apply_override(values, override)
    return values


def _apply_override(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"An override is KEY=VALUE. Received: {override!r}. Write, say, training.epochs=3.")
    section = values
    for depth, key in enumerate(keys[:-1], start=1):
        inner = section.setdefault(key, {})
        if inner is None:
            inner = section[key] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"Override {override!r}: {'.'.join(keys[:depth])} is a value, not a section.")
        section = inner
    section[keys[-1]] = _load_yaml(text, f"Override {override!r}")


def write_recipe(config: RecipeConfig, file: Path) -> None:
    """Write a recipe with every default spelled out, so that it runs again whatever the defaults become."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    file.write_text(text, encoding="utf-8")
