"""Keys that have no effect because of other settings of the same recipe.

A key counts as unused only if its value is not the default: recipes that runs write contain all defaults.
"""

from collections.abc import Iterator

from keras_transfer.config.data import DataConfig, FileDataConfig, ImageDataConfig
from keras_transfer.config.policies import (
    BatchNormPolicyConfig,
    BiasPolicyConfig,
    FewWeightsConfig,
    FullPolicyConfig,
    GradualPolicyConfig,
    HeadPolicyConfig,
    LastStagesPolicyConfig,
    LayerNormPolicyConfig,
    LpFtPolicyConfig,
    PolicyConfig,
)
from keras_transfer.config.schema import (
    AudioClassificationConfig,
    DistributionConfig,
    HeadConfig,
    ImageClassificationConfig,
    RecipeConfig,
    TextClassificationConfig,
    TextHeadConfig,
    TextPretrainingConfig,
)
from keras_transfer.config.section import is_set

Unused = Iterator[tuple[str, str]]
"""Paths of keys, each with the reason why it would be unused."""

_TFDS = "tfds:"


def find_unused(config: RecipeConfig) -> Unused:
    """Find keys that are set but have no effect.

    Yields:
        The path of a key, and the reason.
    """
    for path, reason in _find_meaningless(config):
        name, _, key = path.rpartition(".")
        if is_set(getattr(config, name), key):
            yield path, reason


def without_unused(config: RecipeConfig) -> RecipeConfig:
    """Return a recipe in which unused keys have their defaults: it describes the same run, and is valid.

    Args:
        config: A recipe in which ``auto`` was resolved, so that keys may have become unused.
    """
    for path, _ in list(find_unused(config)):
        name, _, key = path.rpartition(".")
        section = getattr(config, name)
        default = type(section).model_fields[key].get_default(call_default_factory=True)
        config = config.model_copy(update={name: section.model_copy(update={key: default})})
    return config


def _find_meaningless(config: RecipeConfig) -> Unused:
    yield from _of_solved_heads(config)
    yield from _of_policies(config)
    yield from _of_caches(config)
    yield from _of_views(config)
    yield from _of_label_texts(config)
    yield from _of_data(config.data)
    if isinstance(config, TextPretrainingConfig) and not _draws_rows(config.data) and config.data.classes is None:
        reason = "labels are only used to draw rows, and none are drawn"
        yield from ((f"data.{key}", reason) for key in ("label", "relabel"))
    yield from _of_distributions(config.distribution)


def _solver(config: RecipeConfig) -> str | None:
    """How the policy fits a head without stages; None if it never does."""
    return getattr(config.policy, "head_solver", None)


def _of_solved_heads(config: RecipeConfig) -> Unused:
    if _solver(config) != "solve":
        return
    if hasattr(config.policy, "head_epochs"):
        yield "policy.head_epochs", "a head that is solved has no epochs (policy.head_solver=solve)"
    is_head, policy = isinstance(config.policy, HeadPolicyConfig), config.policy
    if config.cache.views > 1 and (is_head or (isinstance(policy, LpFtPolicyConfig) and policy.stages is None)):
        yield "cache.views", "the head is solved on plain images, and no other phase has frozen stages"
    if not is_head:
        return
    reason = "policy.name=head with head_solver=solve trains nothing"
    yield from ((f"training.{key}", reason) for key in _OF_TRAINED_PHASES)
    yield "distribution.learning_rate_scaling", reason
    if isinstance(config.head, HeadConfig):
        yield "head.dropout", reason
    if isinstance(config, _Augmented):
        yield from ((path, f"{reason}, and features are those of plain examples") for path in _changes(config))


_OF_TRAINED_PHASES = (
    "epochs",
    "accumulate_steps",
    "learning_rate",
    "schedule",
    "warmup",
    "weight_decay",
    "clip_norm",
    "ema",
    "optimizer",
    "keep_metric",
    "early_stopping",
)


_Augmented = ImageClassificationConfig | AudioClassificationConfig


def _changes(config: _Augmented) -> list[str]:
    """The augmentations that are on, without those that are also applied in prediction."""
    flips = {"horizontal_flip", "vertical_flip"} if getattr(config.augmentation, "predict_flips", False) else set()
    kept = flips | {"predict_flips"}
    # A change that null turns off is on for any number: noise at 0 dB is loud.
    return [
        f"augmentation.{key}"
        for key, field in sorted(type(config.augmentation).model_fields.items())
        for value in [getattr(config.augmentation, key)]
        if key not in kept and (value or (value is not None and field.default is None))
    ]


def _of_policies(config: RecipeConfig) -> Unused:
    policy = config.policy
    if isinstance(policy, GradualPolicyConfig) and policy.groups == 1:
        yield "policy.group_epochs", "the last group trains for training.epochs, and policy.groups=1 makes one"
    if config.backbone.weights == "none":
        yield "training.l2_sp", "backbone.weights=none has no pretrained weights to stay close to"
    elif isinstance(policy, HeadPolicyConfig | BatchNormPolicyConfig | LayerNormPolicyConfig | BiasPolicyConfig):
        yield "training.l2_sp", f"it only affects pretrained kernels, and policy.name={policy.name} trains none"


def _of_caches(config: RecipeConfig) -> Unused:
    keys = [f"cache.{key}" for key in ("views", "dtype", "max_bytes")]
    if config.cache.views == 0:
        yield from ((key, "cache.views=0 caches nothing") for key in keys[1:])
    elif _trains_all_stages(config.policy):
        reason = f"policy.name={config.policy.name} trains all stages, so there are no features to cache"
        yield from ((key, reason) for key in keys)
    elif isinstance(config, TextPretrainingConfig):
        yield from ((key, "each epoch masks other tokens, so no features are cached") for key in keys)


def _trains_all_stages(policy: PolicyConfig) -> bool:
    """Whether no phase has frozen stages."""
    return isinstance(policy, FullPolicyConfig) or (isinstance(policy, FewWeightsConfig) and policy.stages is None)


def _of_views(config: RecipeConfig) -> Unused:
    """The number of cached views matters only if there are several."""
    views = config.cache.views
    if isinstance(config, TextClassificationConfig) and views > 1:
        yield "cache.views", "texts are not augmented, so there is one view"
    if not isinstance(config, _Augmented):
        return
    augmentation = config.augmentation
    uncached = [key for key in ("mixup", "cutmix", "function") if getattr(augmentation, key, None)]
    if uncached:
        if views:
            yield "cache.views", f"with augmentation.{uncached[0]}, no features of training examples are cached"
    elif views > 1 and not (_changes(config) or getattr(augmentation, "predict_flips", False)):
        yield "cache.views", "no augmentation is on, so there is one view"
    elif views == 1 and _trains_on_features_alone(config):
        yield from ((path, "cache.views=1 caches the plain examples") for path in _changes(config))


def _trains_on_features_alone(config: RecipeConfig) -> bool:
    """Whether every phase has frozen stages; with policy.stages, unless they are all stages of the backbone."""
    is_partial = isinstance(config.policy, HeadPolicyConfig | LastStagesPolicyConfig)
    return is_partial or getattr(config.policy, "stages", None) is not None


def _of_label_texts(config: RecipeConfig) -> Unused:
    head = config.head
    if not isinstance(head, TextHeadConfig):
        return
    path, pair = "head.label_texts", getattr(config.data, "text_pair", None)
    if config.data.target == "number":
        yield path, "numbers have no label names (data.target=number)"
    elif pair is not None:
        yield path, "label names are single texts, and data.text_pair makes pairs of texts"
    elif _solver(config) in (None, "sgd"):
        yield path, f"only a solved head uses label names, and policy.name={config.policy.name} solves none here"
    elif head.hidden is not None or config.training.label_smoothing:
        yield path, "only a solved head uses label names, and head.hidden or training.label_smoothing prevents solving"


def _of_data(data: DataConfig) -> Unused:
    sources = data.sources
    if not any(name.startswith(_TFDS) for name in sources):
        yield "data.data_dir", "only sources tfds:NAME are read from it"
    if isinstance(data, FileDataConfig) and data.bytes is not None and len(sources) == 1:
        what = "images" if isinstance(data, ImageDataConfig) else "recordings"
        yield from ((f"data.{key}", f"{what} come from the column data.bytes") for key in ("path", "root"))
    if data.folds is not None and data.own_source("test") is None:
        default = DataConfig.model_fields["test"].default
        yield "data.test", f"with data.folds, each fold is the test rows once (the default is data.test={default})"
    elif not _draws_rows(data):
        yield "data.stratify", "no rows are drawn: data.validation and data.test are 0 or sources of their own"


def _draws_rows(data: DataConfig) -> bool:
    """Whether validation or test rows are drawn as a share or a fold."""
    return data.folds is not None or any(data.share(part) for part in ("validation", "test"))


def _of_distributions(distribution: DistributionConfig) -> Unused:
    strategy = distribution.strategy
    if strategy in ("auto", "none", "mirrored"):
        reason = f"distribution.strategy={strategy} has one process. Set multi_worker, data_parallel or model_parallel"
        yield from ((f"distribution.{key}", reason) for key in ("workers", "worker", "timeout_seconds"))
    if strategy == "none":
        yield from (
            (f"distribution.{key}", "distribution.strategy=none uses one device")
            for key in ("devices", "learning_rate_scaling")
        )
