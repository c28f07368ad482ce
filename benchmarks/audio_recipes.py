"""Recipes for recordings against logistic regression, on the same rows.

Usage: python benchmarks/audio_recipes.py FOLDER drums|languages [--draws 0 1 2] [--set KEY=VALUE ...]

FOLDER is that of audio_data.py. drums: each draw leaves out other kits. languages: draw k leaves out a package of
three, so that nobody who speaks in training speaks in the test; draws from 3 on do the same with other seeds. Overrides
change the recipe. The peers are scikit-learn's logistic regression, with a penalty chosen by cross-validation over the
groups, on the mean over time of log-mel spectrograms (64 bands), and on the mean of the states of the encoder of
Whisper base and of tiny.en.

Prints accuracy on the test rows, and processor seconds of our runs and of the peers with their features; then means
over the draws with the standard error of the lead.
"""

import argparse
import csv
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from keras_transfer import Recipe
from keras_transfer.config.backbones import AudioBackboneConfig
from keras_transfer.data.formats.recordings import decode_recording

RATE = 16_000
GROUPS = {"drums": "kit", "languages": "package"}
_TEST_KITS = 3
Row = dict[str, str]


def divide(rows: Sequence[Row], name: str, draw: int) -> tuple[list[Row], list[Row]]:
    """Training and test rows: groups are left out."""
    group = GROUPS[name]
    groups = sorted({row[group] for row in rows})
    if name == "languages":
        test = {groups[draw % len(groups)]}
    else:
        test = set(np.random.default_rng(draw).permutation(groups)[:_TEST_KITS])
    return [row for row in rows if row[group] not in test], [row for row in rows if row[group] in test]


def ours(
    folder: Path, name: str, draw: int, train: Sequence[Row], test: Sequence[Row], overrides: Sequence[str]
) -> float:
    with TemporaryDirectory() as scratch:
        files = []
        for part, rows in (("train", train), ("test", test)):
            files.append(Path(scratch) / f"{part}.csv")
            with files[-1].open("w", encoding="utf-8", newline="") as file:
                table = csv.DictWriter(file, rows[0])
                table.writeheader()
                table.writerows(rows)
        recipe = Recipe.from_file(
            f"audio/{name}",
            [
                "data.folds=null",
                f"data.source={files[0]}",
                f"data.test={{source: {files[1]}, root: {folder}}}",
                f"data.root={folder}",
                f"seed={draw}",
                "report=false",
                "export.formats=[]",
                *overrides,
            ],
        )
        return float(recipe.fit(Path(scratch) / "run").reports["test"].accuracy)


def mean_log_mel(samples: np.ndarray) -> np.ndarray:
    """``float64[64]``, computed with NumPy alone."""
    window, hop, bands = 400, 160, 64
    padded = np.pad(samples, (0, max(window - len(samples), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop] * np.hanning(window)
    power = np.abs(np.fft.rfft(frames, 512)) ** 2
    mels = np.linspace(0.0, 2595.0 * np.log10(1.0 + RATE / 2 / 700.0), bands + 2)
    edges = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    hertz = np.arange(257) * RATE / 512
    rising = (hertz - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - hertz) / np.diff(edges)[1:, None]
    filters = np.maximum(np.minimum(rising, falling), 0.0)
    return np.log(power @ filters.T + 1e-6).mean(axis=0)


def whisper_states(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """From samples to the mean of the encoder's states over the recording."""
    import keras

    from keras_transfer.backbones.audio.load import load_audio_backbone

    backbone = load_audio_backbone(AudioBackboneConfig(name=name))
    models: dict[int, keras.Model] = {}

    def embed(samples: np.ndarray) -> np.ndarray:
        # Whole half seconds, so that few lengths are compiled.
        length = min(max(-(-len(samples) // (RATE // 2)) * (RATE // 2), RATE // 2), 30 * RATE)
        if length not in models:
            sized = backbone.for_samples(length)
            inputs = sized.inputs()
            models[length] = keras.Model(inputs, sized.network(sized.prepare(inputs)))
        padded = np.pad(samples[:length], (0, max(length - len(samples), 0)))
        states = np.asarray(models[length].predict_on_batch(padded[None]))[0]
        return states[: max(round(len(states) * len(samples) / length), 1)].mean(axis=0)

    return embed


def peers(folder: Path, rows: Sequence[Row]) -> dict[str, tuple[dict[str, np.ndarray], float]]:
    """Features of all rows by their path, and the processor seconds that they took."""
    found = {}
    samples = {row["path"]: decode_recording((folder / row["path"]).read_bytes(), sample_rate=RATE) for row in rows}
    features = {
        "mean log-mel": lambda: mean_log_mel,
        "whisper_tiny_en": lambda: whisper_states("whisper_tiny_en"),
        "whisper_base": lambda: whisper_states("whisper_base"),
    }
    for name, make in features.items():
        started = time.process_time()
        compute = make()
        found[name] = ({path: compute(one) for path, one in samples.items()}, time.process_time() - started)
    return found


def regress(features: dict[str, np.ndarray], train: Sequence[Row], test: Sequence[Row], group: str) -> float:
    x, unseen = (np.stack([features[row["path"]] for row in rows]) for rows in (train, test))
    y, truth = ([row["label"] for row in rows] for rows in (train, test))
    groups = [row[group] for row in train]
    folds = list(GroupKFold(min(len(set(groups)), 5)).split(x, y, groups))
    folds = [fold for fold in folds if len({y[row] for row in fold[0]}) == len(set(y))]
    model = make_pipeline(
        StandardScaler(), LogisticRegressionCV(Cs=10, cv=folds, max_iter=2000, use_legacy_attributes=False)
    )
    with warnings.catch_warnings(action="ignore"):
        return float(model.fit(x, y).score(unseen, truth))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("name", choices=GROUPS)
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--set", dest="overrides", nargs="+", default=[], metavar="KEY=VALUE", help="overrides of the recipe"
    )
    arguments = parser.parse_args()
    folder, name = arguments.folder.resolve(), arguments.name
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = peers(folder, rows)
    for peer, (_, seconds) in found.items():
        print(f"features of {peer}: {seconds:.0f} s of processor time for {len(rows):,} recordings")
    results: dict[str, list[float]] = {}
    for draw in arguments.draws:
        train, test = divide(rows, name, draw)
        started = time.process_time()
        scores = {"keras_transfer": ours(folder, name, draw, train, test, arguments.overrides)}
        seconds = time.process_time() - started
        scores |= {peer: regress(features, train, test, GROUPS[name]) for peer, (features, _) in found.items()}
        shown = ", ".join(f"{peer} {score:.4f}" for peer, score in scores.items())
        print(f"draw {draw}: {len(train)} train, {len(test)} test: {shown}; {seconds:.0f} s", flush=True)
        for peer, score in scores.items():
            results.setdefault(peer, []).append(score)
    lead = np.array(results["keras_transfer"])
    for peer, scores in results.items():
        difference = 100.0 * (lead - np.array(scores))
        error = difference.std(ddof=1) / len(difference) ** 0.5 if len(difference) > 1 else float("nan")
        print(f"{peer}: mean {np.mean(scores):.4f}; lead {difference.mean():+.1f} +- {error:.1f} points, "
              f"behind in {int((difference < 0).sum())} of {len(difference)}")  # fmt: skip


if __name__ == "__main__":
    main()
