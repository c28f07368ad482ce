"""The files of examples/deploy, as far as a machine without Docker and without a cluster can check them."""

import contextlib
import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from keras_transfer.cli import main

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "examples" / "deploy" / "Dockerfile"


def read_steps():
    """Pairs of instruction and arguments."""
    text = re.sub(r"\\\n\s*", " ", re.sub(r"(?m)^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8")))
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line]


def options_of(words):
    command = main.commands[words[words.index("keras-transfer") + 1]]
    known = {option for parameter in command.params for option in parameter.opts}
    return {word for word in words if word.startswith("--")} - known


def test_commands_of_the_examples_exist():
    steps = dict(read_steps())
    assert options_of(json.loads(steps["CMD"])) == set()
    deployment, service = yaml.safe_load_all((DOCKERFILE.parent / "kubernetes.yaml").read_text(encoding="utf-8"))
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert options_of(container["args"]) == set()
    # Names that have to be equal.
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    ports = {port["name"] for port in container["ports"]}
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    assert {probe["port"] for probe in probes} | {service["spec"]["ports"][0]["targetPort"]} == ports
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert str(pod["securityContext"]["runAsUser"]) in steps["USER"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_steps_of_the_dockerfile_build_a_server(finished_run, tmp_path):
    """``/opt`` is a folder here, and the base image is this Python; packages come from the index."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path / "dist", ROOT],
        check=True,
    )
    opt = tmp_path / "opt"
    for kind, words in read_steps():
        words = words.replace("/opt/", f"{opt}/")
        if kind == "COPY":
            *sources, target = words.split()
            Path(target).mkdir(parents=True)
            for source in sources:
                for file in tmp_path.glob(source):
                    shutil.copy(file, target)
        elif kind == "RUN":
            python = words.replace("python -m", f"{sys.executable} -m", 1) if words.startswith("python") else words
            subprocess.run(["sh", "-ec", python], check=True)
        elif kind == "CMD":
            command = json.loads(words)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    changed = {"/model": str(finished_run.folder), "8000": str(port), "0.0.0.0": "127.0.0.1"}
    command = [changed.get(word, word) for word in command]
    environment = {"HOME": str(tmp_path), "PATH": f"{opt}/keras-transfer/bin:/usr/bin:/bin"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert wait_until_ready(f"http://127.0.0.1:{port}/readyz"), shlex.join(command)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/model", timeout=10) as answer:
            assert json.load(answer)["name"] == "model"
    finally:
        process.terminate()
    assert process.wait(60) == 0


def wait_until_ready(url):
    for _ in range(240):
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
        time.sleep(0.5)
    return False
