"""The contract of policies: the project's own satisfy it, and the check finds those that do not."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from keras_transfer import POLICIES, ConfigError, Phase, Policy, PolicyConfig, PolicyError, Scope
from keras_transfer.config.policies import POLICY_SECTIONS
from keras_transfer.config.recipe_file import parse_recipe
from keras_transfer.testing import check_policy
from keras_transfer.training.policies import plan

PAGE = Path(__file__).parents[2] / "docs" / "extend" / "policies.md"


@pytest.mark.parametrize("name", list(POLICIES))
def test_own_policies_satisfy_the_contract(name):
    assert POLICIES[name].name == name
    assert POLICIES[name].section is POLICY_SECTIONS[name]
    check_policy(POLICIES[name])


class TopConfig(PolicyConfig):
    name: Literal["top"] = "top"
    stages: int = Field(default=1, ge=1, description="how many")


def top(config, scope):
    return (Phase("top", scope.last_stages(config.stages), scope.epochs, 1.0, "frozen"),)


def changed(**fields):
    return lambda config, scope: tuple(replace(phase, **fields) for phase in top(config, scope))


def fails(config, scope):
    raise ValueError("no such stage")


def vague(config, scope):
    raise PolicyError("it does not fit")


def bends(config, scope):
    return (Phase("top", scope.last_stages(min(config.stages, scope.stages)), scope.epochs, 1.0, "frozen"),)


def solves(config, scope):
    return (scope.head_phase(2), *top(config, scope))


class OpenConfig(PolicyConfig):
    name: str = "top"


class NeedyConfig(PolicyConfig):
    name: Literal["top"] = "top"
    depth: int = Field(description="no default")


class BareConfig(PolicyConfig):
    name: Literal["top"] = "top"
    depth: int = 1


def test_a_custom_policy_satisfies_the_contract():
    check_policy(Policy(TopConfig, top))


@pytest.mark.parametrize(
    ("section", "phases", "rule"),
    [
        (TopConfig, lambda config, scope: (), "at least one phase"),
        (TopConfig, lambda config, scope: top(config, scope) * 2, "different names"),
        (TopConfig, changed(stages=(0, 99)), "indices below"),
        (TopConfig, changed(stages=(1, 0)), "in order"),
        (TopConfig, changed(epochs=0), "at least 1"),
        (TopConfig, changed(rate=0.0), "rate is positive"),
        (TopConfig, changed(rate=float("nan")), "rate is positive"),
        (TopConfig, changed(stage_decay=1.5), "stage_decay"),
        (TopConfig, changed(solve=True), "solved only if the scope says so"),
        (TopConfig, solves, "head_solver"),
        (TopConfig, fails, "is a PolicyError"),
        (TopConfig, vague, "fits Scope|names the key"),
        (TopConfig, bends, "is an error if there are 1 stages"),
        (OpenConfig, changed(), "only value"),
        (NeedyConfig, top, "valid default"),
        (BareConfig, changed(), "has a description"),
    ],
)
def test_a_policy_that_breaks_the_contract_is_refused_with_the_rule(section, phases, rule):
    with pytest.raises(AssertionError, match=rule):
        check_policy(Policy(section, phases))


@pytest.fixture
def registries(monkeypatch):
    """What a test adds is removed after it."""
    for registry in (POLICIES, POLICY_SECTIONS):
        monkeypatch.setattr(registry, "_values", dict(registry._values))


@pytest.mark.usefixtures("registries")
def test_the_page_on_policies_runs_and_its_keys_are_a_recipes():
    space = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), space)
    values = {"task": "image_classification", "data": {"source": "x"}, "policy": {"name": "top_first", "top": 4}}
    config = parse_recipe(values, known={}, where="It")
    assert config.model_dump()["policy"] == {"name": "top_first", "top": 4, "top_epochs": 1}
    first, every = plan(config.policy, Scope(6, 3, solves_head=True))
    assert (first.stages, first.epochs) == ((2, 3, 4, 5), 1)
    assert (every.stages, every.epochs) == ((0, 1, 2, 3, 4, 5), 3)
    with pytest.raises(ConfigError, match=r"policy\.rank: top_first does not use this key. It is used by: lora\."):
        parse_recipe({**values, "policy": {"name": "top_first", "rank": 4}}, known={}, where="It")


def test_a_policy_of_an_installed_package_is_found_by_its_name(tmp_path, monkeypatch):
    folder = tmp_path / "deep_first-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: deep-first\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[keras_transfer.policies]\ntop_first = deep_first:top_first\n")
    (block, *_) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "deep_first.py").write_text(block)
    monkeypatch.syspath_prepend(tmp_path)
    for registry in (POLICIES, POLICY_SECTIONS):
        monkeypatch.setattr(registry, "_values", dict(registry._values))
        registry.__dict__.pop("_plugins", None)
    values = {"task": "text_pretraining", "data": {"source": "x"}, "policy": {"name": "top_first", "top": 1}}
    config = parse_recipe(values, known={}, where="It")
    assert [phase.stages for phase in plan(config.policy, Scope(3, 1, solves_head=False))] == [(2,), (0, 1, 2)]
    for registry in (POLICIES, POLICY_SECTIONS):
        registry.__dict__.pop("_plugins", None)
