"""Audit the data of a recipe: problems of examples and labels that are found without training a network."""

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_transfer.audit.duplicates import find_repeated_rows
from keras_transfer.audit.labels import find_suspicious, hold_out
from keras_transfer.audit.neighbours import find_neighbours, find_outliers
from keras_transfer.audit.result import Audit
from keras_transfer.audit.rows import Rows
from keras_transfer.audit.targets import audit_targets
from keras_transfer.config.schema import HeadConfig, RecipeConfig
from keras_transfer.config.weights import Weights
from keras_transfer.data.checks.findings import Finding, sort_findings
from keras_transfer.data.splits.splits import Splits
from keras_transfer.distribution import Distribution
from keras_transfer.errors import DataError
from keras_transfer.frozen.baseline import Baseline
from keras_transfer.frozen.cache import FeatureCache
from keras_transfer.heads import TargetHead
from keras_transfer.heads.solver import MOST_PRODUCTS
from keras_transfer.recipe.spec import RecipeSpec
from keras_transfer.tasks import TargetTask

_MOST_PREVIEWS = 24
"""Of each kind."""


def audit_recipe(spec: RecipeSpec, distribution: Distribution, *, previews: bool = False) -> Audit:
    """Audit the sources of a recipe, with the splits that it would train on.

    Raises:
        TransferError: The data cannot be read, or the network cannot be loaded.
    """
    spec = spec.with_config(_accept_problems(spec.config))
    loaded, notes = _load(spec)
    scanned = spec.task.scan(spec.config, tuple(loaded))
    splits = loaded.with_parts(scanned.splits)
    findings = [*scanned.findings, *find_in_data(spec, splits)]
    if isinstance(spec.task, TargetTask):
        found, more = _find_by_features(spec, splits, distribution)
        findings, notes = [*findings, *found], [*notes, *more]
    rows = {split.name: len(split) for split in loaded}
    ordered = tuple(sort_findings(findings))
    shown = _make_previews(spec, splits, ordered) if previews else {}
    return Audit(spec.config.data.source, rows, ordered, tuple(notes), shown)


def _make_previews(spec: RecipeSpec, splits: Splits, findings: Sequence[Finding]) -> dict[tuple[str, str], bytes | str]:
    """Previews of the first examples of each kind; none of those that cannot be read."""
    counts: Counter[str] = Counter()
    wanted = set()
    for one in findings:
        counts[one.kind] += 1
        if counts[one.kind] <= _MOST_PREVIEWS:
            wanted.add((one.split, one.example))
    found = {}
    for split in splits:
        for row, name in enumerate(split.examples.names):
            if (split.name, name) in wanted:
                with contextlib.suppress(OSError, ValueError):
                    found[split.name, name] = spec.task.preview(split.examples, row)
    return found


def find_in_data(spec: RecipeSpec, splits: Splits) -> list[Finding]:
    """Return findings that need no network, sorted.

    Args:
        splits: Without examples that cannot be read.
    """
    return sort_findings([*audit_targets(splits), *spec.task.audit(spec.config, splits)])


def find_in_run(splits: Splits, repeated: Mapping[str, Any] | None, baseline: Baseline | None) -> list[Finding]:
    """Return the findings that a run has when it ends, sorted.

    Args:
        baseline: Its solved head, if it has one: its held-out predictions are used to judge the labels of training
            rows.
    """
    findings = find_repeated_rows(splits, repeated or {})
    held_out = None if baseline is None else baseline.head.held_out
    if held_out is not None and len(held_out) == len(splits.train):
        train = Rows.of_split(splits.train, splits.target)
        findings += find_suspicious(train, splits.target, splits.train.targets, held_out)
    return sort_findings(findings)


def _accept_problems(config: RecipeConfig) -> RecipeConfig:
    """The recipe with all of its rows, in which problems are findings instead of errors."""
    data: dict[str, Any] = {"broken": "skip", "per_class": None, "folds": None, "fold": None, "repeats": 1}
    if config.data.target in ("class", "multilabel") and config.data.merge_labels is None:
        data["merge_labels"] = False
    sections: dict[str, Any] = {"data": config.data.model_copy(update=data)}
    if isinstance(config.head, HeadConfig):
        sections["head"] = config.head.model_copy(update={"hidden": None, "threshold": None})
    return config.model_copy(update=sections)


def _load(spec: RecipeSpec) -> tuple[Splits, list[str]]:
    """The splits of a recipe; if there are too few rows to divide, all of them in one split."""
    task, config, given = spec.task, spec.config, spec.given.data
    try:
        return task.load_splits(config, given), []
    except DataError as error:
        shares = {part: 0.0 for part in ("validation", "test") if config.data.own_source(part) is None}
        whole = config.model_copy(update={"data": config.data.model_copy(update=shares)})
        try:
            splits = task.load_splits(whole, given)
        except DataError:
            raise error from None
        return splits, [f"The rows cannot be divided as a run would do it, and are audited as one split. {error}"]


def _find_by_features(
    spec: RecipeSpec, splits: Splits, distribution: Distribution
) -> tuple[list[Finding], Sequence[str]]:
    """Outliers and suspicious labels, according to the features of the pretrained network."""
    task, config = spec.task, spec.config
    backbone = task.load_backbone(config, Weights.parse(config.backbone.weights), spec.given)
    reader, prepared = task.make_reader(config, backbone, tuple(splits))
    splits = splits.with_parts(prepared)
    model = task.build_model(config, backbone, splits, reader)
    head, rows = model.head, Rows.of(splits)
    cache = FeatureCache(config.cache, reader, distribution)
    # The training rows have the features that a run would compute: it finds them in the cache.
    features = np.concatenate([cache.pooled(model, split)[0] for split in splits if len(split)])
    targets = np.concatenate([split.targets for split in splits])
    if len(rows) < 2:
        return [], []
    neighbours = find_neighbours(features, seed=config.seed)
    found = find_outliers(rows, neighbours)
    if not isinstance(head, TargetHead) or not head.is_solvable:
        return found, [f"Labels were not checked: a head with {type(head).__name__} cannot be solved."]
    products = len(head.names) * features.size
    if products > MOST_PRODUCTS:
        return found, [f"Labels were not checked: {len(rows):,} rows with {len(head.names):,} outputs are too many."]
    held_out = hold_out(
        head, splits.target, features, targets, neighbours=neighbours, groups=_groups_of(splits), seed=config.seed
    )
    if held_out is None:
        return found, ["Labels were not checked: a class has a single row or group. Add rows, or leave the class out."]
    return [*found, *find_suspicious(rows, splits.target, targets, held_out)], []


def _groups_of(splits: Splits) -> NDArray[np.object_] | None:
    """The group of each row; each row of a source without groups is its own group."""
    if all(split.groups is None for split in splits):
        return None
    alone = [np.array([f"{split.name} {row}" for row in range(len(split))], object) for split in splits]
    return np.concatenate(
        [own if split.groups is None else split.groups for split, own in zip(splits, alone, strict=True)]
    )
