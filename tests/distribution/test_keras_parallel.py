"""Which rows the processes of ``data_parallel`` place, without any other process."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.data.readers.base import join_epochs
from keras_transfer.distribution import keras_parallel
from keras_transfer.distribution.keras_parallel import DataParallel

jax = pytest.importorskip("jax")
LAYOUT = jax.sharding.NamedSharding(jax.sharding.Mesh(jax.devices()[:1], "batch"), jax.sharding.PartitionSpec("batch"))


def make(process, processes, local):
    """One of several processes with ``local`` devices each, without a connection to the others."""
    parallel = DataParallel.__new__(DataParallel)
    parallel.process, parallel.processes, parallel.replicas = process, processes, processes * local
    return parallel


def order(rows, steps):
    def batches_of(epoch):
        every, numbers = tf.range(rows, dtype=tf.int64), tf.data.Dataset.range(steps)
        return numbers.map(lambda step: (epoch, every[step * rows // steps : (step + 1) * rows // steps]))

    return join_epochs(batches_of, epochs=range(1), steps=steps, skip=0)


def place(each, parallels, monkeypatch):
    """What every process puts on its devices, of the slices that they read of one batch."""

    def allgather(value):
        if value.ndim == 0:
            return np.array([len(rows) for rows in each])
        return np.stack([np.pad(rows, (0, len(value) - len(rows))) for rows in each])

    monkeypatch.setattr(keras_parallel, "_allgather", allgather)
    placed = [parallel._place(lambda layout, rows: (layout.spec, rows)) for parallel in parallels]
    return [put(LAYOUT, rows) for put, rows in zip(placed, each, strict=True)]


@pytest.mark.parametrize("local", [1, 2])
@pytest.mark.parametrize("processes", [2, 3, 5])
@pytest.mark.parametrize(("rows", "steps"), [(67, 9), (64, 8), (23, 2)])
def test_no_example_is_repeated_or_missed(monkeypatch, rows, steps, processes, local):
    parallels = [make(process, processes, local) for process in range(processes)]
    read = [[slice_ for _, slice_ in p.share.divide(order(rows, steps)).as_numpy_iterator()] for p in parallels]
    assert sorted(np.concatenate([row for slices in read for row in slices])) == list(range(rows))
    trained = collections.Counter()
    for each in zip(*read, strict=True):
        placed = place(each, parallels, monkeypatch)
        cut = {spec == LAYOUT.spec for spec, _ in placed}
        assert cut == {sum(map(len, each)) % (processes * local) == 0}
        if cut == {True}:  # JAX takes slices of one size, and puts them together
            assert len({len(slice_) for _, slice_ in placed}) == 1
            trained.update(np.concatenate([slice_ for _, slice_ in placed]).tolist())
        else:  # every process has the same, whole batch
            assert {slice_.tobytes() for _, slice_ in placed} == {np.concatenate(each).tobytes()}
            trained.update(placed[0][1].tolist())
    assert trained == dict.fromkeys(range(rows), 1)


@pytest.mark.parametrize("processes", [2, 3, 5])
@pytest.mark.parametrize("rows", [64, 65, 22])
def test_an_evaluation_covers_each_row_once(rows, processes):
    batches = [np.arange(start, min(start + 8, rows)) for start in range(0, rows, 8)]
    watched, predicted = (
        [getattr(make(process, processes, 2), name).divide_evaluation(batches) for process in range(processes)]
        for name in ("share", "rows")
    )
    for shares in (watched, predicted):
        assert sorted(np.concatenate([rows for share in shares for rows in share])) == list(range(rows))
