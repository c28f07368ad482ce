import pytest

from keras_transfer.config.weights import Weights


@pytest.mark.parametrize("name", ["pretrained", "none"])
def test_keywords_take_precedence_over_folders_of_the_same_name(name, tmp_path, monkeypatch):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    weights = Weights.parse(name)
    assert (weights.kind, weights.path, weights.run, str(weights)) == (name, None, None, name)


def test_a_folder_is_a_run_and_any_other_path_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run").mkdir()
    assert Weights.parse("~/run").run == tmp_path / "run"
    file = Weights.parse(tmp_path / "mine.weights.h5")
    assert (file.kind, file.path, file.run) == ("file", tmp_path / "mine.weights.h5", None)
    assert str(file) == str(tmp_path / "mine.weights.h5")
    assert Weights.parse(file) is file
