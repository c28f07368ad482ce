"""What `audit` refuses, before anything is read twice or written."""

import pytest


@pytest.mark.parametrize(
    ("arguments", "needs"),
    [
        pytest.param(["nowhere"], ["'nowhere' not found"], id="no such source"),
        pytest.param(
            ["bbc_headline"], ["Did you mean bbc_headlines", "solar_cells", "percussion"], id="any sample set"
        ),
        pytest.param(["own.yaml"], ["There is no recipe 'own.yaml'"], id="no such recipe"),
        pytest.param(["solar_cells", "data.sise=3"], ["data.sise", "unknown key"], id="unknown key"),
        pytest.param(["solar_cells", "task=image"], ["task: there is no 'image'"], id="unknown task"),
        pytest.param(["{images}", "data.exclude=a.csv"], ["data.exclude", "a.csv", "does not exist"], id="no file"),
        pytest.param(["{images}/cat"], ["no classes"], id="no classes"),
    ],
)
def test_audit_refuses(refused, images, arguments, needs):
    refused("audit", *(argument.format(images=images) for argument in arguments), needs=needs)


def test_the_output_cannot_be_a_file(command, images, tmp_path):
    (tmp_path / "taken").write_text("")
    result = command("audit", images, "--out", tmp_path / "taken")
    assert result.exit_code == 2
    assert "taken" in result.stderr
    assert (tmp_path / "taken").read_text() == ""
