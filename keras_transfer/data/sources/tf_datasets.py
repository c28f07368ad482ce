"""Elements of a ``tf.data.Dataset``, one by one, as far as it ends."""

from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from keras_transfer.errors import DataError
from keras_transfer.networks.types import Dataset

# A dataset that does not know its length may repeat for ever. 100,000 images of 20 KB are as many bytes.
MOST_ROWS = 100_000
MOST_BYTES = 2_000_000_000


def check_ends(dataset: Dataset) -> None:
    """Refuse a dataset that is known to repeat for ever.

    Raises:
        DataError: It is one.
    """
    if int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise DataError(
            "The tf.data.Dataset never ends. Training repeats its examples by itself: remove .repeat(), or end it with "
            ".take(N)."
        )


def knows_length(dataset: Dataset) -> bool:
    """Return whether a dataset says how many elements it has."""
    return int(dataset.cardinality()) != tf.data.UNKNOWN_CARDINALITY


def iterate(dataset: Dataset, *, batched: bool) -> Iterator[Any]:
    """Iterate over the single elements as NumPy values, up to a limit if the dataset does not know its length.

    Args:
        batched: Whether its elements are batches.

    Raises:
        DataError: It never ends, or is longer than the limit.
    """
    check_ends(dataset)
    size, unknown = 0, not knows_length(dataset)
    single = dataset.unbatch() if batched else dataset
    for count, element in enumerate(single.as_numpy_iterator(), start=1):
        size += sum(getattr(part, "nbytes", 0) or len(part) for part in _parts(element) if hasattr(part, "__len__"))
        if unknown and (count > MOST_ROWS or size > MOST_BYTES):
            raise DataError(
                f"The tf.data.Dataset does not know its length, and has more than {MOST_ROWS:,} rows or "
                f"{MOST_BYTES / 1e9:g} GB. If it repeats, remove .repeat(). If it has N elements, say so: "
                "dataset.apply(tf.data.experimental.assert_cardinality(N))."
            )
        yield element


def _parts(element: Any) -> list[Any]:
    if isinstance(element, Mapping):
        return list(element.values())
    return list(element) if isinstance(element, tuple) else [element]
