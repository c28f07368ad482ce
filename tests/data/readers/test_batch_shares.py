"""Slices of batches: over all processes, each example of an epoch once."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.data.readers.base import join_epochs, rows_dataset
from keras_transfer.data.readers.batch_shares import WHOLE, Share
from keras_transfer.errors import DataError


def order(rows, steps, epochs, skip=0):
    def batches_of(epoch):
        every, bounds = tf.range(rows, dtype=tf.int64), tf.data.Dataset.range(steps)
        return bounds.map(lambda step: (epoch, every[step * rows // steps : (step + 1) * rows // steps]))

    return join_epochs(batches_of, epochs=epochs, steps=steps, skip=skip)


@pytest.mark.parametrize("devices", [1, 2, 3, 7])
@pytest.mark.parametrize(("rows", "steps"), [(67, 9), (64, 8), (23, 3), (7, 1)])
def test_no_example_is_repeated_or_missed(rows, steps, devices):
    for local in (1, devices):  # a process a device, or all of them in one
        seen = collections.Counter()
        batches = collections.defaultdict(list)
        for first in range(0, devices, local):
            divided = Share(first, local, devices).divide(order(rows, steps, range(2)))
            assert int(divided.cardinality()) == 2 * steps * local
            for number, (epoch, slice_) in enumerate(divided.as_numpy_iterator()):
                assert len(slice_) >= 1
                seen.update((int(epoch), int(row)) for row in slice_)
                batches[number // local].extend(slice_.tolist())
        assert seen == {(epoch, row): 1 for epoch in range(2) for row in range(rows)}
        whole = [batch.tolist() for _, batch in order(rows, steps, range(2)).as_numpy_iterator()]
        assert [sorted(batches[number]) for number in range(2 * steps)] == [sorted(batch) for batch in whole]


@pytest.mark.parametrize("devices", [1, 2, 3, 7])
@pytest.mark.parametrize("rows", [64, 65, 7, 22])
def test_an_evaluation_covers_each_row_once(rows, devices):
    batches = [np.arange(start, min(start + 8, rows)) for start in range(0, rows, 8)]
    shares = [Share(first, 1, devices).divide_evaluation(batches) for first in range(devices)]
    assert sorted(np.concatenate([row for share in shares for row in share])) == list(range(rows))
    assert min(len(slice_) for share in shares for slice_ in share) >= 1
    assert len({len(share) for share in shares}) == 1
    together = Share(0, devices, devices).divide_evaluation(batches)
    assert np.concatenate(together).tolist() == list(range(rows))
    assert len(list(rows_dataset(together))) == len(together)


def test_batches_smaller_than_the_devices_are_joined():
    batches = [np.array(rows) for rows in ([0, 1, 2, 3], [4], [5], [6, 7, 8], [9])]
    slices = Share(0, 3, 3).divide_evaluation(batches)
    assert [rows.tolist() for rows in slices] == [[0], [1], [2, 3], [4, 5], [6, 7], [8, 9]]


def test_skipped_steps_are_skipped_on_all_devices():
    rest = [rows.tolist() for _, rows in Share(1, 1, 2).divide(order(10, 2, range(2), skip=1)).as_numpy_iterator()]
    assert rest == [[7, 8, 9], [2, 3, 4], [7, 8, 9]]


def test_an_unshared_dataset_is_unchanged():
    dataset = object()
    assert WHOLE.divide(dataset) is dataset


def test_fewer_rows_than_devices_are_refused():
    with pytest.raises(DataError, match=r"The test split has fewer rows than devices \(4\). Received: 3"):
        Share(0, 1, 4).check("test", 3)
    Share(0, 1, 4).check("test", 0)
