"""Processes that SLURM's variables bring together, as srun would set them."""

import json
import os
import subprocess
import sys

import pytest

from keras_transfer import ConfigError
from keras_transfer.config.schema import DistributionConfig
from keras_transfer.distribution.choose import is_chief
from keras_transfer.distribution.workers import Workers, find_workers

STEP = {
    "SLURM_JOB_ID": "4711",
    "SLURM_NTASKS": "5",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_NODELIST": "n[9-10],gpu07",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_PROCID": "2",
}


def test_ranks_follow_the_list_of_nodes():
    found = find_workers(DistributionConfig(strategy="multi_worker"), STEP)
    assert found == Workers(("n9:11504", "n9:11505", "n10:11504", "n10:11505", "gpu07:11504"), 2)


def test_jobs_that_share_a_node_have_their_own_ports():
    found = {
        find_workers(DistributionConfig(strategy="multi_worker"), {**STEP, "SLURM_JOB_ID": str(job)}).addresses
        for job in range(4711, 4721)
    }
    assert len({address for addresses in found for address in addresses}) == 10 * 5


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"SLURM_STEP_NODELIST": "n[9-"}, r"do not describe the workers: SLURM_STEP_NODELIST: 'n\[9-'"),
        ({"SLURM_STEP_NODELIST": "n9"}, "SLURM_STEP_NODELIST has 1 nodes, SLURM_STEP_TASKS_PER_NODE 3"),
        ({"SLURM_STEP_TASKS_PER_NODE": "2,x"}, "SLURM_STEP_TASKS_PER_NODE: '2,x'"),
        ({"SLURM_STEP_NODELIST": None}, r"SLURM_STEP_NODELIST is missing\. Start them with srun"),
        ({"SLURM_PROCID": "5"}, "SLURM: there is no worker 5. Received: 5 workers"),
    ],
)
def test_invalid_variables(changed, message):
    environment = {name: value for name, value in {**STEP, **changed}.items() if value is not None}
    with pytest.raises(ConfigError, match=message):
        find_workers(DistributionConfig(strategy="multi_worker"), environment)


def test_the_script_of_a_job_is_one_process(monkeypatch):
    from keras_transfer.config.schema import RecipeConfig

    for name in ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_PROCID"):  # what a batch script sees, without srun
        monkeypatch.setenv(name, {**STEP, "SLURM_PROCID": "0"}[name])
    config = RecipeConfig.model_validate(
        {"task": "image_classification", "data": {"source": "x"}, "distribution": {"strategy": "data_parallel"}}
    )
    assert is_chief(config)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "strategy"), [("tensorflow", "multi_worker"), ("jax", "data_parallel")])
def test_two_tasks_of_a_step_make_one_run(recipe_file, tmp_path, backend, strategy):
    if backend == "jax":
        pytest.importorskip("jax")
    command = [sys.executable, "-m", "keras_transfer.cli", "run", str(recipe_file), "--out", str(tmp_path / "run")]
    command += [f"distribution.strategy={strategy}", "training.epochs=1"]
    step = {
        "KERAS_BACKEND": backend,
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_TASKS_PER_NODE": "2",
    }
    tasks = [
        subprocess.Popen(
            command,
            env={**os.environ, **step, "SLURM_PROCID": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for task in tasks:
        _, told = task.communicate(timeout=300)
        assert task.returncode == 0, told
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert (environment["strategy"], environment["processes"]) == (strategy, 2)
