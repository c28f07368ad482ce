"""Images scanned a second, against Pillow alone opening and verifying them in as many threads; a second scan."""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from keras_transfer.config.data import ImageDataConfig
from keras_transfer.data.checks.scan import scan
from keras_transfer.data.examples.images import Images
from keras_transfer.data.splits.splits import Split, images_of, load_splits


def copy_images(folder: Path, count: int, kind: str) -> Split:
    """Copies of the solar cells, each a file of its own: as they are (PNG), or in colour as JPEG."""
    splits = load_splits(ImageDataConfig(source="solar_cells"), seed=0)
    originals = [file for split in splits for file in images_of(split).files]
    if kind == "jpg":
        (folder / "originals").mkdir()
        files = [folder / "originals" / f"{number}.jpg" for number in range(len(originals))]
        for original, file in zip(originals, files, strict=True):
            Image.open(original).convert("RGB").save(file, quality=90)
        originals = list(map(str, files))
    names = tuple(f"{number:05}.{kind}" for number in range(count))
    for number, name in enumerate(names):
        (folder / name).write_bytes(Path(originals[number % len(originals)]).read_bytes())
    return Split("train", Images(folder, names), np.zeros(count, np.int64), np.ones(count, np.float32))


def verify(file: str) -> None:
    with Image.open(file) as image:
        image.verify()


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main(count: int, rounds: int) -> None:
    for kind in ("png", "jpg"):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["KERAS_TRANSFER_CACHE"] = f"{folder}/cache"
            split = copy_images(Path(folder), count, kind)
            files = images_of(split).files

            def pillow(files: list[str] = files) -> None:
                with ThreadPoolExecutor(os.cpu_count()) as pool:
                    list(pool.map(verify, files))

            def own(memory: Path, split: Split = split) -> None:
                scan([split], broken="error", channels=3, max_pixels=10**8, memory=memory)

            pillow()  # the files are then in memory for both
            memories = [Path(folder) / f"memory{number}" for number in range(rounds)]
            first, peer = zip(*[(seconds(lambda m=m: own(m)), seconds(pillow)) for m in memories], strict=True)
            # Another run has other objects, which find what the first ones remembered.
            images = [Images(Path(folder), images_of(split).names) for _ in memories]
            others = [split.with_examples(each) for each in images]
            second = [seconds(lambda m=m, s=s: own(m, s)) for m, s in zip(memories, others, strict=True)]
        ratio = statistics.median(b / a for a, b in zip(first, peer, strict=True))
        print(f"{count:,} {kind} files, medians of {rounds}, {os.cpu_count()} threads each")
        print(f"  Pillow opens and verifies  {count / statistics.median(peer):8,.0f} images/s")
        print(f"  a first scan               {count / statistics.median(first):8,.0f} images/s, {ratio:.2f} of that")
        again = statistics.median(second)
        times = statistics.median(first) / again
        print(f"  a second scan              {again:8.2f} s, {times:.0f} times as fast as the first")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    main(**vars(parser.parse_args()))
