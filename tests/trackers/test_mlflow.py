"""MLflow's client finds in a local database what a run did."""

import pytest

from keras_transfer.errors import RunInterrupted, TrainingError
from keras_transfer.testing import check_tracker
from keras_transfer.trackers.mlflow import MlflowTracker

mlflow = pytest.importorskip("mlflow")
pytest.importorskip("sqlalchemy")


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A database with MLflow's tables, which take two seconds to make."""
    folder = tmp_path_factory.mktemp("mlflow")
    mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def database(empty, tmp_path, monkeypatch):
    """In a separate working folder: MLflow writes files next to a local database."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow.db").write_bytes(empty.read_bytes())
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def find_run(database, experiment="keras-transfer"):
    client = mlflow.MlflowClient(database)
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return client, run


def history(client, run, name):
    return {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, name)}


def assert_recorded(client, run):
    assert (run.info.run_name, run.info.status) == ("mine", "FINISHED")
    assert history(client, run, "loss") == {1: 0.75, 2: 0.5, 3: 0.25}
    assert history(client, run, "val_loss") == {1: 0.875, 2: 0.625, 3: 0.375}
    assert history(client, run, "phase") == {1: 1.0, 2: 2.0, 3: 2.0}
    assert history(client, run, "phase_2_full/loss") == {2: 0.5, 3: 0.25}
    assert history(client, run, "test/accuracy") == {3: 0.875}
    assert history(client, run, "test/gain.points") == {3: 0.125}
    assert run.data.params == {
        "task": "image_classification",
        "seed": "7",
        "data.source": "cells",
        "data.stratify": '["label"]',
        "data.group": "null",
        "git_commit": "3f" * 20,
        "fingerprint.train": "aa11",
        "fingerprint.test": "bb22",
    }
    files = sorted(file.path for file in client.list_artifacts(run.info.run_id))
    assert files == ["history.png", "metrics.json", "recipe.yaml"]


def test_metrics_parameters_and_files_are_in_the_database(play, database):
    play.whole(MlflowTracker(tracking_uri=database))
    client, run = find_run(database)
    assert_recorded(client, run)
    assert run.data.tags["mlflow.source.git.commit"] == "3f" * 20
    assert run.data.tags["keras_transfer.run_folder"] == str(play.folder)
    content = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/recipe.yaml")
    assert content == "task: image_classification\nseed: 7\n"


def test_a_resumed_run_continues_its_run_in_mlflow(play, database):
    play.resumed(lambda: MlflowTracker(tracking_uri=database, experiment="cells"))
    assert_recorded(*find_run(database, "cells"))


@pytest.mark.parametrize(
    ("error", "status"), [(TrainingError("the loss is NaN"), "FAILED"), (RunInterrupted("SIGTERM"), "KILLED")]
)
def test_a_run_that_fails_is_marked(play, database, error, status):
    tracker = MlflowTracker(tracking_uri=database)
    play.start(tracker)
    tracker.run_failed(error)
    assert find_run(database)[1].info.status == status


def test_more_parameters_than_a_request_may_have(play, database):
    from keras_transfer.trackers.records import RunStarted

    tracker = MlflowTracker(tracking_uri=database)
    tracker.run_started(RunStarted(play.folder, {"head": {f"key_{n}": n for n in range(250)}}))
    assert len(find_run(database)[1].data.params) == 250


def test_it_satisfies_the_contract(database):
    check_tracker(MlflowTracker(tracking_uri=database))
