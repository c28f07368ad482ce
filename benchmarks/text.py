"""Texts, against what people use today: same weights (all-MiniLM-L6-v2), same rows, each side a process of its own.

articles    the recipe text/bbc_news against Hugging Face's Trainer (peer_trainer.py), whole processes
few_labels  8 articles a class, ten draws: policies, of all tokens that the network takes, against scikit-learn on
            embeddings and SetFit (peer_setfit.py), of 256, which is their default for it
headlines   one epoch of `full` against KerasHub's TextClassifier.fit with its defaults (peer_keras_hub.py)
tokens      tokens computed for each that carries text, and what tokenizing takes of a run of three epochs

The peers of the first two want PyTorch and run in an environment of their own: --peer-python. Results so far are kept
in --results, so that a benchmark that was stopped goes on where it was; remove the file to measure anew.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from keras_transfer.backbones import BACKBONES
from keras_transfer.backbones.texts.rows import load_text_backbone
from keras_transfer.config.data import TextDataConfig
from keras_transfer.data.readers.texts import TextReader
from keras_transfer.data.splits.splits import Split, Splits, load_splits

HERE = Path(__file__).parent
Line = dict[str, Any]


def load(source: str, seed: int) -> Splits:
    return load_splits(TextDataConfig(source=source, validation=0.0, test=0.2), seed=seed)


def write_rows(split: Split, classes: tuple[str, ...], file: Path) -> str:
    texts = [segments[0] for segments in split.examples.segments]
    rows = pd.DataFrame({"text": texts, "label": [classes[label] for label in split.targets]})
    rows.to_json(file, orient="records", lines=True)
    return str(file)


def write_peer_data(splits: Splits, train: Split, file: Path) -> str:
    def part(split: Split) -> Line:
        return {"texts": [segments[0] for segments in split.examples.segments], "labels": split.targets.tolist()}

    parts = {"train": part(train), "validation": {"texts": [], "labels": []}, "test": part(splits.test)}
    file.write_text(json.dumps({"class_names": list(splits.target.names), **parts}))
    return str(file)


def timed(command: list[str]) -> tuple[str, float]:
    started = time.perf_counter()
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return said, round(time.perf_counter() - started, 1)


def run_recipe(recipe: str, *overrides: str) -> Line:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "keras_transfer.cli", "run", recipe, *overrides, "export.formats=[]"]
        _, seconds = timed([*command, "--out", f"{folder}/run"])
        history = [json.loads(line) for line in Path(folder, "run", "history.jsonl").read_text().splitlines()]
        accuracy = json.loads(Path(folder, "run", "metrics.json").read_text())["test"]["accuracy"]
    return {"accuracy": accuracy, "fit_seconds": sum(line["seconds"] for line in history), "process_seconds": seconds}


def run_peer(python: str, script: str, *arguments: str) -> Line:
    said, seconds = timed([python, str(HERE / script), "--model", str(BACKBONES["minilm"].folder()), *arguments])
    line = json.loads(said.splitlines()[-1])
    return {"accuracy": line["accuracy"], "fit_seconds": line["seconds"], "process_seconds": seconds}


def articles(arguments: argparse.Namespace, measure: Callable[..., Line]) -> None:
    names = ["text/bbc_news", "Trainer"]
    with tempfile.TemporaryDirectory() as folder:
        for seed in arguments.seeds:
            splits = load("bbc_news", seed)
            data = write_peer_data(splits, splits.train, Path(folder, f"{seed}.json"))
            measure(names[0], seed, lambda seed=seed: run_recipe("text/bbc_news", f"seed={seed}"))
            peer = ["--data", data, "--seed", str(seed)]
            measure(names[1], seed, lambda peer=peer: run_peer(arguments.peer_python, "peer_trainer.py", *peer))
    print_table(measure, names, arguments.seeds)


# Options of peer_setfit.py.
PEERS = {"scikit-learn": ["--probe"], "SetFit": []}


def few_labels(arguments: argparse.Namespace, measure: Callable[..., Line]) -> None:
    splits = load("bbc_news", 0)
    peers = {name: PEERS[name] for name in arguments.peers}
    with tempfile.TemporaryDirectory() as folder:
        test = write_rows(splits.test, splits.target.names, Path(folder, "test.jsonl"))
        for draw in range(arguments.first_draw, arguments.first_draw + arguments.draws):
            random = np.random.default_rng(draw)
            classes = range(len(splits.target.names))
            rows = [random.permutation(np.flatnonzero(splits.train.targets == label))[:8] for label in classes]
            train = splits.train.select(np.concatenate(rows))
            table = write_rows(train, splits.target.names, Path(folder, "train.jsonl"))
            for policy in arguments.policies:
                keys = [f"data.source={table}", f"data.test={test}", f"policy.name={policy}", f"seed={draw}"]
                keys += ["data.sequence_length=auto", "training.epochs=3"]
                measure(policy, draw, lambda keys=keys: run_recipe("text/bbc_news", *keys))
            data = write_peer_data(splits, train, Path(folder, "peer.json"))
            for name, options in peers.items():
                peer = ["--data", data, "--seed", str(draw), *options]
                measure(name, draw, lambda peer=peer: run_peer(arguments.peer_python, "peer_setfit.py", *peer))
    draws = list(range(arguments.first_draw, arguments.first_draw + arguments.draws))
    print_table(measure, [*arguments.policies, *peers], draws)


def headlines(arguments: argparse.Namespace, measure: Callable[..., Line]) -> None:
    names = ["full", "KerasHub"]
    ours = ["policy.name=full", "training.epochs=1", "data.validation=0.0", "training.keep=last"]
    with tempfile.TemporaryDirectory() as folder:
        for seed in arguments.seeds:
            splits = load("bbc_headlines", seed)
            data = write_peer_data(splits, splits.train, Path(folder, f"{seed}.json"))
            measure(names[0], seed, lambda seed=seed: run_recipe("text/bbc_headlines", f"seed={seed}", *ours))
            peer = ["--data", data, "--seed", str(seed), "--epochs", "1"]
            measure(names[1], seed, lambda peer=peer: run_peer(sys.executable, "peer_keras_hub.py", *peer))
    print_table(measure, names, arguments.seeds)


def print_table(measure: Callable[..., Line], names: list[str], seeds: list[int]) -> None:
    print(f"{'':<16}{'seed':>6}{'accuracy':>10}{'fit s':>9}{'process s':>11}")
    lines = {name: [measure(name, seed) for seed in seeds] for name in names}
    for name in names:
        for seed, line in zip(seeds, lines[name], strict=True):
            figures = f"{line['accuracy']:>10.4f}{line['fit_seconds']:>9.1f}{line['process_seconds']:>11.1f}"
            print(f"{name:<16}{seed:>6}{figures}")
    for name in names:
        accuracies = [line["accuracy"] for line in lines[name]]
        spread = statistics.stdev(accuracies) if len(seeds) > 1 else 0.0
        print(f"{name:<16} mean accuracy {statistics.mean(accuracies):.4f} +- {spread:.4f} (standard deviation)")
    for name in names[1:]:
        for kind in ("fit_seconds", "process_seconds"):
            ratio = statistics.median(
                peer[kind] / own[kind] for own, peer in zip(lines[names[0]], lines[name], strict=True)
            )
            print(f"{kind}, {name} / {names[0]}: median {ratio:.2f}")


def tokens(arguments: argparse.Namespace, measure: Callable[..., Line]) -> None:
    backbone = load_text_backbone("minilm")
    for source in ("bbc_headlines", "bbc_news"):
        splits = load(source, 0)
        started = time.perf_counter()
        reader, (train, test) = TextReader.fit(
            backbone.encoder,
            (splits.train, splits.test),
            sequence_length="auto",
            maximum_length=backbone.maximum_length,
            pads_to_longest=backbone.pads_to_longest,
        )
        seconds = time.perf_counter() - started
        targets = np.zeros((len(train), 5), np.float32)
        batches = reader.training_batches(train, targets, train.weights, batch_size=16, seed=0, epochs=range(3))
        evaluation = reader.evaluation_batches(test, batch_size=16)
        for name, masks in (
            ("training", [inputs["padding_mask"] for inputs, _, _ in batches]),
            ("evaluation", [inputs["padding_mask"] for inputs in evaluation]),
        ):
            computed, carry = (
                sum(mask.shape.num_elements() for mask in masks),
                sum(int(sum(mask)) for mask in flat(masks)),
            )
            shapes = {tuple(mask.shape) for mask in masks}
            ratio = f"tokens computed / that carry text {computed / carry:.3f}"
            print(f"{source:<14} {name:<11} {ratio}, shapes {len(shapes)}")
        print(f"{source:<14} tokenizing all rows {seconds:.2f} s, sequence_length {reader.limit}")


def flat(masks: list[Any]) -> list[np.ndarray]:
    return [mask.numpy().ravel() for mask in masks]


WHAT = {"articles": articles, "few_labels": few_labels, "headlines": headlines, "tokens": tokens}


def main(arguments: argparse.Namespace) -> None:
    results: Path = arguments.results
    lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    done = {(line["what"], line["name"], line["seed"]): line for line in lines}

    def measure(name: str, seed: int, run: Callable[[], Line] | None = None) -> Line:
        key = (arguments.what, name, seed)
        if key not in done and run is not None:
            done[key] = {"what": arguments.what, "name": name, "seed": seed, **run()}
            with results.open("a") as file:
                file.write(json.dumps(done[key]) + "\n")
            print(json.dumps(done[key]), file=sys.stderr, flush=True)
        return done[key]

    WHAT[arguments.what](arguments, measure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--first-draw", type=int, default=0)
    parser.add_argument("--policies", nargs="+", default=["auto", "head", "lp_ft"])
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=PEERS, help="few_labels")
    parser.add_argument("--peer-python", default=sys.executable, help="a Python with torch, transformers and setfit")
    parser.add_argument("--results", type=Path, default=Path("text_results.jsonl"))
    main(parser.parse_args())
