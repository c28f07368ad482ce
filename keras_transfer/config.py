"""The recipe: its schema, its YAML, its overrides. The only place where a default stands."""

import copy
import difflib
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)

from keras_transfer.errors import ConfigError
from keras_transfer.registry import did_you_mean

Share = Annotated[StrictFloat, Field(ge=0.0, lt=1.0)]
Amount = Annotated[StrictFloat, Field(ge=0.0, le=1.0)]
Alpha = Annotated[StrictFloat, Field(ge=0.0)]
Count = Annotated[StrictInt, Field(ge=1)]
Rate = Annotated[StrictFloat, Field(gt=0.0, allow_inf_nan=False)]


class Section(BaseModel):
    """A part of a recipe: frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(Section):
    """Where the examples come from and how they are divided."""

    source: StrictStr = Field(description="a sample set | a folder | a .csv, .jsonl or .parquet file")
    validation: Share | StrictStr = Field(
        default=0.15, description="a share of the training part, or a source of its own"
    )
    test: Share | StrictStr = Field(default=0.2, description="a share of all, or a source of its own")
    stratify: list[StrictStr] = Field(
        default=["label"], min_length=1, description="columns whose shares every split keeps"
    )
    label: StrictStr = Field(default="label", description="table column: the class")
    weight: StrictStr | None = Field(default=None, description="column: how much an example counts in training")


class PictureDataConfig(DataConfig):
    """Pictures: where they come from, how they are divided and read."""

    path: StrictStr = Field(default="path", description="table column: where the picture lies, relative to the table")
    broken: Literal["error", "skip"] = Field(default="error", description="what files that cannot be read lead to")
    image_size: Annotated[StrictInt, Field(ge=16, le=2048)] | None = Field(
        default=None, description="height and width in pixels; the backbone's own by default"
    )
    resize: Literal["crop", "pad", "stretch"] = Field(default="crop", description="how a picture becomes square")


class TextDataConfig(DataConfig):
    """Texts: where they come from, how they are divided and read."""

    text: StrictStr = Field(default="text", description="table column: the text")
    text_pair: StrictStr | None = Field(default=None, description="table column: a second text, for pairs")
    broken: Literal["error", "skip", "replace"] = Field(
        default="error", description="what texts that are empty or no UTF-8 lead to; replace: U+FFFD for wrong bytes"
    )
    sequence_length: Annotated[StrictInt, Field(ge=4)] | Literal["auto"] = Field(
        default="auto", description="most tokens of a text; auto: 99 % of the training texts are whole"
    )


class AugmentationConfig(Section):
    """Random changes to training pictures; 0 or false is none."""

    horizontal_flip: StrictBool = Field(default=True, description="mirror left and right")
    vertical_flip: StrictBool = Field(default=False, description="mirror top and bottom")
    quarter_turns: StrictBool = Field(default=False, description="turn by 0, 90, 180 or 270 degrees")
    rotation: Annotated[StrictFloat, Field(ge=0.0, le=180.0)] = Field(
        default=0.0, description="turn by up to so many degrees"
    )
    crop: Share = Field(default=0.0, description="cut up to this share off the sides, anywhere")
    zoom: Share = Field(default=0.0, description="scale by up to this share, in or out")
    shift: Share = Field(default=0.0, description="move by up to this share of the side")
    brightness: Amount = Field(default=0.0, description="add up to this share of the full range")
    contrast: Amount = Field(default=0.0, description="stretch or squeeze the values by up to this share")
    saturation: Amount = Field(default=0.0, description="stretch or squeeze the colours by up to this share")
    randaugment: Annotated[StrictInt, Field(ge=0, le=10)] = Field(
        default=0, description="two of 14 operations a picture, at this magnitude out of 10"
    )
    erase: Amount = Field(default=0.0, description="chance that a rectangle of 2 to 33 % of the area is blotted out")
    mixup: Alpha = Field(default=0.0, description="blend with another picture, by a share from Beta(mixup, mixup)")
    cutmix: Alpha = Field(
        default=0.0, description="paste a box of another picture, of an area from Beta(cutmix, cutmix)"
    )
    predict_flips: StrictBool = Field(
        default=False, description="average predictions over the flips that are on; 2 or 4 times the work"
    )


class BackboneConfig(Section):
    """The pretrained network."""

    name: StrictStr = Field(default="efficientnet_lite0", description="see `keras-transfer backbones`")
    weights: StrictStr = Field(default="pretrained", description="pretrained | none | a file or a run folder")


class TextBackboneConfig(BackboneConfig):
    """The pretrained network."""

    name: StrictStr = Field(
        default="minilm", description="see `keras-transfer backbones`; a KerasHub preset; a preset's or model's folder"
    )


class HeadConfig(Section):
    """The new layers on top."""

    dropout: Share = Field(default=0.2, description="share of features dropped in training")
    hidden: Count | None = Field(default=None, description="width of a hidden layer; none by default")


class PictureHeadConfig(HeadConfig):
    """The new layers on top."""

    pooling: Literal["average", "max", "both"] = Field(default="average", description="feature map to vector")


class TextHeadConfig(HeadConfig):
    """The new layers on top."""

    pooling: Literal["auto", "own", "mean", "last"] = Field(
        default="auto",
        description="tokens to vector; own: the family's; auto: last for decoders, mean for others",
    )


class PolicyConfig(Section):
    """Which stages train, and when."""

    name: StrictStr = Field(
        default="lp_ft",
        description="auto | head | last_stages | full | lp_ft | gradual | lora | batch_norm | layer_norm | bias",
    )
    budget_seconds: Rate | None = Field(
        default=None, description="auto: what training may take on this machine; no limit by default"
    )
    stages: Count = Field(default=3, description="last_stages: how many, counted from the head")
    batch_norm: Literal["auto", "frozen", "adapt"] = Field(
        default="auto", description="BatchNorm in stages that train; auto: frozen after a head phase, else adapt"
    )
    head_solver: Literal["auto", "solve", "sgd"] = Field(
        default="auto", description="a head that trains alone is solved, or trained; auto solves what it can"
    )
    head_epochs: Count = Field(default=2, description="lp_ft, gradual: epochs of a head that is not solved")
    fine_tune_rate: Rate = Field(default=0.3, description="lp_ft, gradual: factor on learning_rate once stages train")
    stage_decay: Annotated[StrictFloat, Field(gt=0.0, le=1.0)] = Field(
        default=1.0, description="factor on learning_rate from the head to the last stage, and on to each one before"
    )
    groups: Count = Field(default=3, description="gradual: stages are released in so many groups, from the head down")
    group_epochs: Count = Field(default=2, description="gradual: epochs before the next group; the last has the others")
    rank: Count = Field(default=8, description="lora: of the adapters")
    lora_layers: Literal["all", "query_value"] = Field(
        default="all", description="lora: which; query_value: those two of every attention"
    )
    lora_stages: Count | None = Field(default=None, description="lora: how many, counted from the head; all by default")


class CacheConfig(Section):
    """What the frozen stages put out, kept on disk."""

    views: Annotated[StrictInt, Field(ge=0)] = Field(
        default=2, description="augmented views of each example; 1: the plain picture; 0: no cache"
    )
    dtype: Literal["float32", "float16"] = Field(default="float32", description="on disk; float16 halves it")
    max_bytes: Count = Field(default=10_000_000_000, description="of all entries; the least recently used go first")


class EarlyStoppingConfig(Section):
    """When to stop before the last epoch."""

    metric: Literal["val_loss", "val_accuracy", "loss", "accuracy"] = Field(
        default="val_loss", description="what is watched"
    )
    patience: Count = Field(default=3, description="epochs without an improvement before the phase ends")


class TrainingConfig(Section):
    """How each phase is trained."""

    epochs: Count = Field(default=8, description="epochs of the last phase")
    batch_size: Count = Field(default=32, description="examples a step, over all devices")
    learning_rate: Rate | Literal["auto"] = Field(
        default=1e-3, description="the peak, after warm-up; auto: see `keras-transfer find-lr`"
    )
    schedule: Literal["cosine", "constant"] = Field(default="cosine", description="what follows the warm-up")
    warmup: Share = Field(default=0.1, description="share of a phase's steps over which the rate rises from 0")
    weight_decay: Annotated[StrictFloat, Field(ge=0.0)] = Field(
        default=0.01, description="AdamW's; never on biases and norms"
    )
    l2_sp: Annotated[StrictFloat, Field(ge=0.0)] = Field(
        default=0.0, description="decay of pretrained weights towards their start, in place of weight_decay"
    )
    clip_norm: Rate | None = Field(default=1.0, description="global norm that gradients are scaled down to")
    ema: Share = Field(
        default=0.0, description="how much of its value the running average of the weights keeps a step; 0 is off"
    )
    label_smoothing: Share = Field(default=0.0, description="share of each label spread over all classes")
    class_weights: Literal["none", "balanced"] = Field(
        default="none", description="balanced: each class counts the same"
    )
    keep: Literal["best", "last"] = Field(
        default="best", description="weights of the epoch of least val_loss, or the last"
    )
    early_stopping: EarlyStoppingConfig | None = Field(default=None, description="off by default")
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = Field(
        default="float32", description="arithmetic; auto: mixed_bfloat16 where it trains faster on this machine"
    )


class TextTrainingConfig(TrainingConfig):
    """How each phase is trained."""

    epochs: Count = Field(default=3, description="epochs of the last phase")
    learning_rate: Rate | Literal["auto"] = Field(
        default=3e-4, description="the peak, after warm-up; auto: see `keras-transfer find-lr`"
    )
    batch_size: Count = Field(default=16, description="examples a step, over all devices")


class ExportConfig(Section):
    """What a run leaves for serving."""

    formats: list[Literal["saved_model"]] = Field(default=["saved_model"], description="[] exports nothing")


class RecipeConfig(Section):
    """One transfer-learning job: what recipes of every task have."""

    task: StrictStr
    seed: Annotated[StrictInt, Field(ge=0, lt=2**31)] = Field(
        default=0, description="of splits, weights, order, augmentation"
    )
    deterministic: StrictBool = Field(
        default=False, description="the same seed gives the same weights; slower on a GPU"
    )
    data: DataConfig
    backbone: BackboneConfig = BackboneConfig()
    head: HeadConfig = HeadConfig()
    policy: PolicyConfig = PolicyConfig()
    training: TrainingConfig = TrainingConfig()
    cache: CacheConfig = CacheConfig()
    export: ExportConfig = ExportConfig()


class ImageClassificationConfig(RecipeConfig):
    """Pictures in, one class out of several."""

    task: Literal["image_classification"]
    data: PictureDataConfig
    augmentation: AugmentationConfig = AugmentationConfig()
    head: PictureHeadConfig = PictureHeadConfig()


class TextClassificationConfig(RecipeConfig):
    """Texts in, one class out of several."""

    task: Literal["text_classification"]
    data: TextDataConfig
    backbone: TextBackboneConfig = TextBackboneConfig()
    head: TextHeadConfig = TextHeadConfig()
    training: TextTrainingConfig = TextTrainingConfig()


SCHEMAS: dict[str, type[RecipeConfig]] = {
    "image_classification": ImageClassificationConfig,
    "text_classification": TextClassificationConfig,
}
"""The schema of each task."""


def _find_contradictions(config: RecipeConfig) -> Iterator[str]:
    """Settings that are right one by one, and wrong together."""
    training = config.training
    if isinstance(config, ImageClassificationConfig):
        yield from _find_contradictions_of_pictures(config)
    if config.policy.head_solver == "solve" and config.head.hidden is not None:
        yield "policy.head_solver: solve takes a linear head, and head.hidden is set. Use sgd, or no head.hidden."
    if config.policy.head_solver == "solve" and training.label_smoothing:
        yield "policy.head_solver: solve knows no training.label_smoothing. Use sgd, or a smoothing of 0."
    if config.policy.budget_seconds is not None and config.policy.name != "auto":
        yield (f"policy.budget_seconds: policy.name={config.policy.name} keeps to no budget. Use auto, or no budget.")
    if config.policy.name == "auto" and training.learning_rate == "auto":
        yield "training.learning_rate: policy.name=auto tries policies at one rate. Give it a number, or name a policy."
    if config.data.validation != 0.0:
        return
    if training.keep == "best":
        yield "training.keep: best needs validation rows, and data.validation is 0. Set training.keep=last."
    if training.early_stopping and training.early_stopping.metric.startswith("val_"):
        yield (
            f"training.early_stopping.metric: {training.early_stopping.metric} is measured on validation rows, and "
            "data.validation is 0. Watch loss or accuracy, or set data.validation."
        )


def _find_contradictions_of_pictures(config: ImageClassificationConfig) -> Iterator[str]:
    augmentation = config.augmentation
    if augmentation.predict_flips and not (augmentation.horizontal_flip or augmentation.vertical_flip):
        yield "augmentation.predict_flips: no flip is on. Turn one on, or predict_flips off."
    if config.training.batch_size == 1 and (augmentation.mixup or augmentation.cutmix):
        yield "training.batch_size: mixup and cutmix need a second picture in a batch. Use 2 or more, or turn both off."


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
            # A union appends the type that it tried, as in data.test.float.
            names = names[:-1] if names[-1] in _UNION_TAGS else names
            message = f"{detail['msg'][0].lower()}{detail['msg'][1:]}. Received: {_shown(detail['input'])}."
        messages.setdefault(".".join(names), []).append(message)
    return {path: f"{path}: {' Or: '.join(texts)}" for path, texts in messages.items()}


_UNION_TAGS = ("float", "str", "constrained-float", "literal['auto']", "constrained-int")


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
