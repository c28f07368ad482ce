"""No key is ignored: with each choice that a recipe can make, each key changes the run or is an error.

A probe returns what a run takes from some keys: phases, optimizers, loss, cached views, rows. ``KEYS`` names for each
key a value that is not its default, and the probe that has to see it; a new key needs a line there.
"""

import functools
import json
from dataclasses import dataclass, field
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydantic import BaseModel

from keras_transfer.config.by_name import ByName
from keras_transfer.config.heads import HEAD_ENTRIES, HeadEntry
from keras_transfer.config.policies import POLICY_SECTIONS
from keras_transfer.config.recipe_file import parse_recipe
from keras_transfer.config.schema import SCHEMAS, HeadConfig
from keras_transfer.config.section import Section
from keras_transfer.data.readers.base import Reader
from keras_transfer.data.readers.images import ImageReader
from keras_transfer.data.readers.masked import MaskedTextReader
from keras_transfer.data.readers.recordings import AudioReader
from keras_transfer.data.readers.texts import TextReader
from keras_transfer.data.splits.splits import load_splits
from keras_transfer.data.splits.unlabelled import load_unlabelled
from keras_transfer.errors import ConfigError, DataError, PolicyError
from keras_transfer.frozen.cache import FeatureCache
from keras_transfer.heads import ClassificationHead, make_head
from keras_transfer.job.phases import plan_phases
from keras_transfer.training.optimizer import build_optimizer

IMAGES, TEXTS, PRETRAINING = "image_classification", "text_classification", "text_pretraining"
AUDIO = "audio_classification"
FILES = (IMAGES, AUDIO)
STAGES, WIDTH, STEPS = 6, 8, 20
NAMES = ("a", "b")
NORM = keras.layers.BatchNormalization()


# What a run takes from a recipe.


def model_of(config):
    """What planning looks at, without a network: six stages, for images and audio with BatchNorm."""
    layers = [NORM] if config.task in FILES else []
    stages = [SimpleNamespace(index=index, layers=layers) for index in range(STAGES)]
    head = head_of(config) or SimpleNamespace(names=NAMES, is_solvable=False)
    top = SimpleNamespace(input_shape=(None, WIDTH))
    return SimpleNamespace(head=head, top=top, backbone=SimpleNamespace(stages=stages, parts={}))


def head_of(config):
    if not isinstance(config.head, HeadConfig):
        return None
    targets = {"class": np.array([0, 0, 0, 1]), "multilabel": np.eye(4, 2, dtype=np.float32)}
    return make_head(config, NAMES, targets.get(config.data.target, np.ones((4, 2), np.float32)))


def phases(config):
    """The phases; with head_solver=auto those of a head that is solved, and of one with too many rows for that."""
    each = []
    for rows in (100, 10**9) if getattr(config.policy, "head_solver", None) == "auto" else (100,):
        planned = plan_phases(config, model_of(config), SimpleNamespace(train=range(rows)))
        each += [phase for phase in planned if phase not in each]
    return each


def trained(config):
    return [phase for phase in phases(config) if not phase.solve]


def optimizers(config):
    """Of each phase that trains: rates, decay, L2-SP, clipping, averages."""
    text = config.training.model_dump_json()
    return [
        optimizer_of(type(config.training), text, phase.rate, phase.weights == "all", bool(phase.stages))
        for phase in trained(config)
    ]


@functools.cache
def optimizer_of(section, text, rate, whole, has_stages):
    head = keras.Variable(np.ones((2, 2), "float32"))
    stages = [keras.Variable(np.ones((2, 2) if whole else (2,), "float32"))] if has_stages else []
    optimizer = build_optimizer(
        section.model_validate_json(text), rate=rate, steps=STEPS, variables=[*stages, head], new_variables=[head]
    )
    settings = {key: value for key, value in optimizer.get_config().items() if key not in ("name", "learning_rate")}
    pulled = [reference is not None for reference in optimizer.references]
    settings["l2_sp"] = settings["l2_sp"] if any(pulled) else 0.0
    rates = [float(optimizer._learning_rate(step)) for step in (0, 1, STEPS // 2, STEPS - 1)]
    return [rates, pulled, settings]


def loss(config):
    """Loss, weights of classes, and layers, if something is trained; pooling in any case."""
    head = head_of(config)
    if head is None:
        return config.head.model_dump()
    found = [head.describe_pooling()]
    if config.task not in FILES:
        found.append(config.head.pooling)
    if trained(config):
        found.append(layers_of(type(config.head), config.head.model_dump_json()))
        found.append(head.loss(label_smoothing=config.training.label_smoothing).get_config())
    return found


@functools.cache
def layers_of(section, text):
    top = ClassificationHead(NAMES, section.model_validate_json(text)).read_out(keras.Input((WIDTH,)))
    layers = keras.Model(keras.utils.get_source_inputs(top), top).get_config()["layers"]
    return [(layer["class_name"], layer["config"].get("rate"), layer["config"].get("units")) for layer in layers]


def class_weights(config):
    head = head_of(config)
    return None if head is None else head.class_weights(np.array([0, 0, 0, 1]), config.training.class_weights).tolist()


def decisions(config):
    """What is predicted with given probabilities, after thresholds were chosen on rows of two classes or labels."""
    head = head_of(config)
    if head is None or not (head.has_thresholds or config.head.coverage):
        return None
    predicted = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.45, 0.55], [0.2, 0.8]], np.float32)
    classes = np.array([0, 0, 1, 1, 0])
    targets = classes if config.data.target == "class" else np.eye(2, dtype=np.float32)[classes]
    head = head.choose_thresholds(predicted, targets).choose_coverage(predicted, targets)
    return [head.facts, [str(head.to_prediction("x", row)) for row in predicted]]


def label_texts(config):
    """Label names are extra examples of a solved head."""
    solves = any(phase.solve for phase in phases(config))
    applies = config.data.target != "number" and config.data.text_pair is None
    return config.head.label_texts if solves and applies else None


def reader_of(config):
    if config.task == IMAGES:
        data = config.data
        reader = ImageReader(
            image_size=data.image_size or 32,
            channels=data.channels,
            resize=data.resize,
            augmentation=config.augmentation,
            seed=config.seed,
            max_pixels=data.max_pixels,
        )
        return reader.with_function(lambda images, seeds: images) if config.augmentation.function else reader
    if config.task == AUDIO:
        reader = AudioReader(
            sample_rate=8000,
            samples=800,
            padding=config.data.padding,
            augmentation=config.augmentation,
            seed=config.seed,
            max_seconds=config.data.max_seconds,
        )
        return reader.with_function(lambda samples, seed: samples) if config.augmentation.function else reader
    reader = TextReader if config.task == TEXTS else MaskedTextReader
    views = functools.partial(Reader.training_views, None)
    return SimpleNamespace(mixes=reader.mixes, training_views=views, flips=((),), describe=lambda *_: None)


def features(config):
    """How each phase sees its examples: as cached features, or read and augmented again."""
    reader, found = reader_of(config), []
    cache = FeatureCache(config.cache, reader)
    storage = [config.cache.dtype, config.cache.max_bytes]
    for phase in phases(config):
        frozen = phase.frozen_stages(STAGES)
        if phase.solve:
            found.append(["pooled", storage if config.cache.views else None, reader.flips])
        elif cache.serves(frozen):
            views = reader.training_views(range(phase.epochs), config.cache.views)
            found.append(["cached", storage, len(views), reader.describe(None, views), reader.flips])
        else:
            changes = config.augmentation.model_dump(exclude={"predict_flips"}) if config.task in FILES else None
            evaluated = storage if frozen and config.cache.views and config.task != PRETRAINING else None
            found.append(["read", changes, evaluated, reader.flips])
    return found


def rows(config):
    """The rows of each split with their targets and weights."""
    load = load_unlabelled if config.task == PRETRAINING else load_splits
    splits = load(config.data, seed=config.seed)
    each = [[s.examples.fingerprints, np.asarray(s.targets).tolist(), s.weights.tolist()] for s in splits]
    roots = [str(getattr(split.examples, "home", None)) for split in splits]
    return [each, splits.target.names, roots]


def epochs_that_end(config):
    """Which epoch's weights a trained phase leaves: with validation rows, or by their lack, the last."""
    stop = config.training.early_stopping
    keep = [config.training.keeps_best(rows) for rows in (0, 1000)]
    keep.append(config.training.keep_metric if any(keep) else None)
    return [*keep, stop and stop.model_dump()] if trained(config) else None


def devices(config):
    section = config.distribution
    processes = [section.workers, section.worker, section.timeout_seconds]
    several = section.strategy in ("multi_worker", "data_parallel", "model_parallel")
    one = section.strategy == "none"
    scaling = section.learning_rate_scaling if trained(config) else None
    return [section.strategy, processes if several else None, None if one else [section.devices, scaling]]


def accumulated(config):
    return config.training.accumulate_steps if trained(config) else None


def batch_norms(config):
    return [(phase.batch_norm, phase.stages, phase.epochs) for phase in phases(config)]


def passed_on(path):
    """A key that is read wherever it is needed in every run."""
    return lambda config: functools.reduce(lambda section, key: getattr(section, key, None), path.split("."), config)


# The keys.


@dataclass
class Key:
    value: object
    probe: object
    base: dict = field(default_factory=dict)  # of the recipe in which the key certainly counts
    tasks: tuple = (IMAGES, TEXTS, PRETRAINING, AUDIO)


MULTILABEL = {"data.target": "multilabel", "data.label": ["p", "q"]}
NUMBER = {"data.target": "number", "data.label": "x"}
PROCESSES = {"distribution.strategy": "multi_worker", "distribution.workers": ["a:1", "b:2"]}
ALONE = {"policy.name": "head", "policy.head_solver": "sgd"}
NOT_PRETRAINING = (IMAGES, TEXTS, AUDIO)

KEYS = {
    "seed": Key(7, passed_on("seed")),  # of weights, orders and augmentation too
    "deterministic": Key(True, passed_on("deterministic")),
    "data.source": Key("other.csv", rows),
    **{
        f"data.{part}{key}": Key(value, passed_on(f"data.{part}{key}"), {f"data.{part}source": "other.csv"})
        for part in ("", "validation.", "test.")
        for key, value in {"encoding": "cp1252", "delimiter": ",", "folders": "classes"}.items()
    },
    "data.suffix": Key(".png", passed_on("data.suffix")),
    **{
        f"data.{part}.suffix": Key(
            ".png", passed_on(f"data.{part}.suffix"), {f"data.{part}.source": "other.csv"}, FILES
        )
        for part in ("validation", "test")
    },
    "data.data_dir": Key("folder", passed_on("data.data_dir"), {"data.source": "tfds:x"}),
    "data.validation": Key(0.4, rows),
    "data.test": Key(0.4, rows),
    "data.validation.source": Key("other.csv", rows),
    "data.test.source": Key("other.csv", rows),
    "data.validation.root": Key("elsewhere", rows, {"data.validation.source": "other.csv"}, FILES),
    "data.test.root": Key("elsewhere", rows, {"data.test.source": "other.csv"}, FILES),
    "data.stratify": Key(["label", "site"], rows),
    "data.target": Key("number", rows, {"data.label": "x"}, NOT_PRETRAINING),
    "data.label": Key("site", rows),
    "data.separator": Key(";", rows, {"data.target": "multilabel", "data.label": "tags"}, NOT_PRETRAINING),
    "data.classes": Key(["red", "blue"], rows, {"data.label": "tags"}),
    "data.relabel": Key({"a": "z"}, rows),
    "data.exclude": Key(
        {IMAGES: "images.csv", TEXTS: "texts.csv", PRETRAINING: "texts.csv", AUDIO: "images.csv"}, rows
    ),
    "data.merge_labels": Key(False, passed_on("data.merge_labels")),  # of names that are alike
    "data.split": Key("part", rows),
    "data.group": Key("who", rows),
    "data.folds": Key(3, rows, {"data.fold": 1}),
    "data.fold": Key(2, rows, {"data.folds": 3}),
    "data.repeats": Key(2, passed_on("data.is_several_runs")),
    "data.per_class": Key(2, rows, {}, NOT_PRETRAINING),
    "data.leaks": Key("error", passed_on("data.leaks")),
    "data.splits_of": Key("runs/one", passed_on("data.splits_of")),
    "data.weight": Key("w", rows),
    "data.path": Key("path2", rows),
    "data.root": Key("elsewhere", rows),
    "data.bytes": Key("raw", passed_on("data.bytes")),
    "data.broken": Key("skip", passed_on("data.broken")),
    "data.image_size": Key(64, passed_on("data.image_size")),
    "data.channels": Key(1, passed_on("data.channels")),
    "data.max_pixels": Key(99, passed_on("data.max_pixels")),
    "data.resize": Key("pad", passed_on("data.resize")),
    "data.start": Key("p", rows),
    "data.end": Key("q", rows),
    "data.seconds": Key(2.0, passed_on("data.seconds")),
    "data.padding": Key("repeat", passed_on("data.padding")),
    "data.max_seconds": Key(99.0, passed_on("data.max_seconds")),
    "data.sample_rate": Key(8000, passed_on("data.sample_rate")),
    "data.text": Key("text2", rows),
    "data.text_pair": Key("text2", rows),
    "data.sequence_length": Key(16, passed_on("data.sequence_length")),
    "data.predict_length": Key(16, passed_on("data.predict_length"), {}, (TEXTS,)),
    "backbone.name": Key("other", passed_on("backbone.name")),
    "backbone.weights": Key("w.weights.h5", passed_on("backbone.weights")),
    "backbone.input_range": Key([0.0, 1.0], passed_on("backbone.input_range")),  # refused when a backbone is loaded
    "head.dropout": Key(0.5, loss),
    "head.hidden": Key(4, loss),
    "head.loss": Key("huber", loss, NUMBER),
    "head.pooling": Key({IMAGES: "max", TEXTS: "last", AUDIO: "max"}, loss),
    "head.label_texts": Key("none", label_texts),
    "head.threshold": Key({"metric": "f1"}, decisions, {}, NOT_PRETRAINING),
    "head.threshold.value": Key(0.2, decisions, {}, NOT_PRETRAINING),
    "head.threshold.metric": Key("f1", decisions, {}, NOT_PRETRAINING),
    "head.threshold.costs": Key({"a": 1.0, "b": 9.0}, decisions, {}, NOT_PRETRAINING),
    "head.threshold.positive": Key("a", decisions, {"head.threshold.value": 0.2}, NOT_PRETRAINING),
    "head.coverage": Key(0.75, decisions, {}, NOT_PRETRAINING),
    "head.name": Key("spare", passed_on("head.name"), {}, NOT_PRETRAINING),
    "head.settings": Key({"depth": 2}, passed_on("head.settings"), {"head.name": "spare"}, NOT_PRETRAINING),
    "head.mask_selection_rate": Key(0.3, loss),
    "training.epochs": Key(5, batch_norms),
    "training.batch_size": Key(4, passed_on("training.batch_size")),  # of evaluations too
    "training.learning_rate": Key(0.02, optimizers),
    "training.schedule": Key("constant", optimizers),
    "training.warmup": Key(0.4, optimizers),
    "training.weight_decay": Key(0.3, optimizers),
    "training.l2_sp": Key(0.1, optimizers),
    "training.accumulate_steps": Key(3, accumulated),
    "training.clip_norm": Key(2.0, optimizers),
    "training.ema": Key(0.9, optimizers),
    "training.label_smoothing": Key(0.1, loss, {}, NOT_PRETRAINING),
    "training.class_weights": Key({"a": 2.0, "b": 1.0}, class_weights, {}, NOT_PRETRAINING),
    "training.keep": Key("last", epochs_that_end),
    "training.keep_metric": Key("val_accuracy", epochs_that_end),
    # Objects from Python, whose names a recipe records; the run refuses what they make meaningless.
    "training.loss": Key("<python: own>", passed_on("training.loss")),
    "training.metrics": Key(["<python: own>"], passed_on("training.metrics")),
    "training.optimizer": Key("<python: own>", passed_on("training.optimizer")),
    "training.early_stopping": Key({}, epochs_that_end),
    "training.early_stopping.metric": Key("loss", epochs_that_end),
    "training.early_stopping.patience": Key(9, epochs_that_end),
    "training.precision": Key("mixed_bfloat16", passed_on("training.precision")),
    "cache.views": Key({IMAGES: 1, TEXTS: 4, PRETRAINING: 4, AUDIO: 1}, features, ALONE, FILES),
    "cache.dtype": Key("float16", features, ALONE, NOT_PRETRAINING),
    "cache.max_bytes": Key(1000, features, ALONE, NOT_PRETRAINING),
    "checkpoint.every_seconds": Key(5.0, passed_on("checkpoint.every_seconds")),
    "checkpoint.every_steps": Key(5, passed_on("checkpoint.every_steps")),
    "checkpoint.grace_seconds": Key(5.0, passed_on("checkpoint.grace_seconds")),
    "distribution.strategy": Key("mirrored", devices),
    "distribution.devices": Key(3, devices),
    "distribution.workers": Key(["c:1", "d:1"], devices, PROCESSES),
    "distribution.worker": Key(1, devices, PROCESSES),
    "distribution.learning_rate_scaling": Key("sqrt", devices),
    "distribution.timeout_seconds": Key(9.0, devices, PROCESSES),
    "export.formats": Key({IMAGES: [], TEXTS: [], AUDIO: []}, passed_on("export.formats"), {}, NOT_PRETRAINING),
    "trackers": Key(["tensorboard"], passed_on("trackers")),
    "report": Key(False, passed_on("report")),
    **{
        f"augmentation.{key}": Key(value, features)
        for key, value in {
            "horizontal_flip": False,
            "vertical_flip": True,
            "quarter_turns": True,
            "rotation": 9.0,
            "crop": {IMAGES: 0.1, AUDIO: False},
            "zoom": 0.1,
            "shift": 0.1,
            "brightness": 0.1,
            "contrast": 0.1,
            "saturation": 0.1,
            "randaugment": 3,
            "erase": 0.2,
            "mixup": 0.2,
            "cutmix": 0.2,
            "function": "<python: own>",
            "predict_flips": True,
            "gain": 6.0,
            "noise": 20.0,
            "speed": 0.1,
            "time_mask": 0.2,
            "frequency_mask": 0.2,
        }.items()
    },
}

POLICY_KEYS = {
    "stages": Key(4, phases),
    "batch_norm": Key({"frozen": "adapt", "adapt": "frozen", None: "adapt"}, phases, {}, FILES),
    "head_solver": Key("sgd", phases, {}, NOT_PRETRAINING),
    "head_epochs": Key(5, phases, {"policy.head_solver": "sgd"}),
    "fine_tune_rate": Key(0.7, phases),
    "stage_decay": Key(0.5, phases),
    "groups": Key(2, phases),
    "group_epochs": Key(5, phases),
    "rank": Key(3, phases),
    "lora_layers": Key("query_value", phases),
    "budget_seconds": Key(60.0, passed_on("policy.budget_seconds")),
}

CHOICES = [
    *({"policy.name": name} for name in POLICY_SECTIONS),
    *({"policy.name": name, "policy.head_solver": how} for name in ("head", "lp_ft") for how in ("solve", "sgd")),
    {"policy.name": "lora", "policy.stages": 3},
    {"policy.name": "gradual", "policy.groups": 1},
    MULTILABEL,
    NUMBER,
    {"head.hidden": 4},
    {"training.label_smoothing": 0.1},
    {"training.keep": "last", "data.validation": 0.0},
    {"data.validation": "other.csv", "data.test": "other.csv"},
    {"data.folds": 3, "data.fold": 1},
    {"data.text_pair": "text2"},
    {"data.channels": 1},
    {"backbone.weights": "none"},
    {"cache.views": 0},
    {"cache.views": 0, "policy.name": "head"},
    {"cache.views": 1, "policy.name": "last_stages"},
    {"augmentation.mixup": 0.2, "policy.name": "last_stages"},
    {"augmentation.function": "<python: own>", "policy.name": "last_stages"},
    {"augmentation.horizontal_flip": False, "policy.name": "last_stages"},
    {"augmentation.crop": False, "policy.name": "last_stages"},
    {"distribution.strategy": "none"},
    PROCESSES,
]


def is_as_asked(place, task, values):
    """Whether a probe sees no change because a key requests what happens in any case: it is not ignored."""
    if place == "policy.head_solver":  # a head that cannot be solved is trained with auto, too
        return task == PRETRAINING or bool({"head.hidden", "training.label_smoothing"} & set(values))
    solves, one_view = values.get("policy.head_solver") == "solve", values.get("cache.views") == 1
    by_default = {IMAGES: "augmentation.horizontal_flip", AUDIO: "augmentation.crop"}.get(task)  # on, if not named
    return (
        place.endswith(".source")  # of the table that the choice names, too
        or (place == "training.keep" and solves)  # the last epoch is the only one
        or (place == by_default and (solves or one_view))  # off, and it is not used
        or (place == "cache.views" and task in FILES and (solves or by_default in values))  # 1
    )


# Recipes.


def nested(values):
    recipe = {}
    for path, value in values.items():
        *sections, key = path.split(".")
        inner = recipe
        for section in sections:
            if not isinstance(inner.get(section, {}), dict):  # a share, or a source by its name
                inner[section] = {"source": inner[section]} if isinstance(inner[section], str) else {}
            inner = inner.setdefault(section, {})
        inner[key] = {**inner[key], **value} if isinstance(inner.get(key), dict) and isinstance(value, dict) else value
    return recipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two tables of 48 rows that differ, with images under two roots."""
    root = tmp_path_factory.mktemp("keys")
    for place in (root, root / "elsewhere"):
        place.mkdir(exist_ok=True)
        for n in range(96):
            Image.new("RGB", (8, 8), (2 * n, 0, 0)).save(place / f"{n:02}.png")
    for name, first in (("table.csv", 0), ("other.csv", 48)):
        table = [
            {
                "path": f"{first + n:02}.png",
                "path2": f"{95 - first - n:02}.png",
                "text": f"text {first + n} of many",
                "text2": f"other {first + n}",
                "label": "ab"[n % 2],
                "site": "xy"[n // 2 % 2],
                "who": f"p{n // 2}",
                "part": "test" if n % 6 < 2 else "train",
                "tags": ["red", "blue;red", "blue"][n % 3],
                "p": n % 2,
                "q": n // 2 % 2,
                "x": n / 4,
                "w": 1 + n % 3,
            }
            for n in range(48)
        ]
        pd.DataFrame(table).to_csv(root / name, index=False)
    (root / "images.csv").write_text("example\n00.png\n", encoding="utf-8")
    (root / "texts.csv").write_text("example\nrow 1\n", encoding="utf-8")
    return root


class SpareConfig(Section):
    depth: int = 1


@pytest.fixture(autouse=True)
def at_home(folder, monkeypatch):
    """In the folder of the tables, with a head that has a setting."""
    monkeypatch.chdir(folder)
    spare = HeadEntry("class", SpareConfig)
    monkeypatch.setattr(HEAD_ENTRIES, "_values", {**HEAD_ENTRIES._values, "spare": spare})


def keys_of(task):
    """All keys of a task by their paths; those of a policy under its name: ``policy.lora.rank``."""

    def walk(section, path):
        for key, info in section.model_fields.items():
            by_name = next((marker for marker in info.metadata if isinstance(marker, ByName)), None)
            if by_name is not None:
                sections = {name: by_name.choose({"name": name}) for name in by_name.names}
                yield from (f"{key}.{name}.{inner}" for name, s in sections.items() for inner in s.model_fields)
                continue
            kinds = [info.annotation, *getattr(info.annotation, "__args__", ())]
            inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
            if inner is None or inner is not info.annotation:
                yield f"{path}{key}"
            if inner is not None and getattr(info.annotation, "__origin__", None) is not list:
                yield from walk(inner, f"{path}{key}.")

    chosen = {path for path in walk(SCHEMAS[task], "") if path.startswith("policy.") and path.endswith(".name")}
    return [path for path in walk(SCHEMAS[task], "") if path not in {"task", *chosen}]


def lookup(task, path):
    """The line of a key, its path in a recipe, and its value that is not the default."""
    if not path.startswith("policy."):
        key = KEYS[path]
        return key, path, key.value[task] if isinstance(key.value, dict) and task in key.value else key.value
    _, policy, name = path.split(".")
    key = POLICY_KEYS[name]
    default = POLICY_SECTIONS[policy].model_fields[name].default
    value = key.value[default] if isinstance(key.value, dict) else key.value
    return key, f"policy.{name}", value


@functools.cache
def look(probe, text):
    try:
        return json.dumps(probe(parse_recipe(json.loads(text), known={}, where="It")), default=str, sort_keys=True)
    except (ConfigError, PolicyError, DataError) as error:
        return error


def see(probe, task, values):
    """The probe's view of a recipe, or the error."""
    return look(probe, json.dumps(nested({"task": task, "data.source": "table.csv", **values})))


def is_error(outcome):
    return isinstance(outcome, Exception)


def is_of_another_policy(task, path, choice):
    """Whether a key of a policy is looked at with the policy that is chosen, which has the same key."""
    section, policy, name = path.split(".") if path.startswith("policy.") else (None, None, None)
    chosen = choice.get("policy.name", "full" if task == PRETRAINING else "lp_ft")
    return section is not None and policy != chosen and name in POLICY_SECTIONS[chosen].model_fields


TASKS = (IMAGES, TEXTS, PRETRAINING, AUDIO)
ALL = {
    (task, path): path.split(".")[2] if path.startswith("policy.") else path for task in TASKS for path in keys_of(task)
}
EVERY = [key for key, name in ALL.items() if name in (POLICY_KEYS if key[1].startswith("policy.") else KEYS)]


def test_every_key_has_a_line_and_a_probe():
    assert set(ALL.values()) - {*KEYS, *POLICY_KEYS} == set()
    assert {*KEYS, *POLICY_KEYS} - set(ALL.values()) == set()


@pytest.mark.parametrize(("task", "path"), EVERY)
def test_a_key_changes_the_run_that_it_is_for(task, path):
    key, place, value = lookup(task, path)
    base = dict(key.base)
    if path.startswith("policy."):
        base["policy.name"] = path.split(".")[1]
    before = see(key.probe, task, {name: given for name, given in base.items() if name != place})
    after = see(key.probe, task, {**base, place: value})
    if task in key.tasks:
        assert not is_error(after), after
        assert str(before) != str(after)
    else:
        assert is_error(after) or is_as_asked(place, task, base)


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: " ".join(f"{k}={v}" for k, v in choice.items()))
def test_a_key_that_a_choice_makes_meaningless_is_an_error(choice):
    valid, ignored = 0, []
    for task, path in EVERY:
        key, place, value = lookup(task, path)
        if key.probe is rows and not any(name.startswith("data.") for name in choice):
            continue  # rows follow from the data section alone
        before = see(key.probe, task, choice)
        if is_error(before) or place in choice or is_of_another_policy(task, path, choice):
            continue
        valid += 1
        after = see(key.probe, task, {**choice, place: value})
        if not is_error(after) and before == after and not is_as_asked(place, task, choice):
            ignored.append(f"{task} {path}")
    assert valid
    assert not ignored, ", ".join(ignored)
