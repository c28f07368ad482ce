"""What devices that share the cores of a CPU are given of them, in processes of their own."""

import os
import subprocess
import sys

import pytest

# The second tensor of a size takes the memory of the first: what the kernel clears in between is counted in pages.
LOOK = """
import os, resource, sys
import tensorflow as tf
os.cpu_count = lambda: 2
from keras_transfer.distribution.tf_strategies import choose_devices
choose_devices(int(sys.argv[1]))
ones = tf.ones((64, 1024, 256))
def add():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    ones + 1.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
add(), add()
print(sum(add() for _ in range(5)), tf.config.threading.get_intra_op_parallelism_threads())
"""


def look(devices, **variables):
    """Return how many pages were cleared, and how many threads were set."""
    theirs = ("TF_CPU_ALLOCATOR_USE_BFC", "TF_NUM_INTRAOP_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in theirs}
    command = [sys.executable, "-c", LOOK, str(devices)]
    process = subprocess.run(command, env={**environment, **variables}, stdout=subprocess.PIPE, text=True, check=True)
    pages, threads = process.stdout.split()
    return int(pages), int(threads)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems count pages otherwise")
def test_memory_is_reused_and_an_operation_has_one_thread_if_devices_use_all_cores():
    pages, threads = look(2)
    assert pages < 1000  # of each of five tensors the kernel would clear 16,384
    assert threads == 1


@pytest.mark.slow
def test_thread_settings_of_the_user_are_respected():
    _, threads = look(2, TF_NUM_INTRAOP_THREADS="2")
    assert threads == 0  # TensorFlow reads the variable by itself
