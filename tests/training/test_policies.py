"""From a recipe's policy to phases."""

import pytest

from keras_transfer.config.policies import POLICY_SECTIONS
from keras_transfer.errors import PolicyError
from keras_transfer.training.policies import Phase, Scope, candidate_section, plan


def section(name, **keys):
    return POLICY_SECTIONS[name](**keys)


def test_head_trains_no_stage():
    (phase,) = plan(section("head"), Scope(5, 4, solves_head=False))
    assert (phase.stages, phase.epochs, phase.rate) == ((), 4, 1.0)


def test_last_stages_counts_from_the_head():
    (phase,) = plan(section("last_stages", stages=2, batch_norm="adapt"), Scope(5, 4, solves_head=False))
    assert (phase.stages, phase.batch_norm) == ((3, 4), "adapt")


def test_full_trains_every_stage():
    (phase,) = plan(section("full"), Scope(5, 4, solves_head=False))
    assert phase.stages == (0, 1, 2, 3, 4)


def test_lp_ft_is_a_head_phase_then_all_stages_at_a_lower_rate():
    config = section("lp_ft", head_epochs=3, fine_tune_rate=0.1, batch_norm="adapt")
    head, full = plan(config, Scope(5, 4, solves_head=False))
    assert (head.name, head.stages, head.epochs, head.rate) == ("head", (), 3, 1.0)
    assert (full.name, full.stages, full.epochs, full.rate) == ("fine_tune", (0, 1, 2, 3, 4), 4, 0.1)
    assert (head.batch_norm, full.batch_norm) == ("frozen", "adapt")


def test_more_stages_than_there_are_is_an_error_with_the_range():
    with pytest.raises(PolicyError, match=r"has 5 stages\. Received: 6\. Use 1 to 5"):
        plan(section("last_stages", stages=6), Scope(5, 4, solves_head=False))


@pytest.mark.parametrize("name", ["last_stages", "lp_ft", "gradual", "lora", "layer_norm", "bias", "batch_norm"])
def test_a_part_of_the_backbone_trains_by_its_name(name):
    scope = Scope(8, 4, solves_head=True, parts={"encoder": range(5), "decoder": range(5, 8)})
    for part, stages in (("encoder", (0, 1, 2, 3, 4)), ("decoder", (5, 6, 7))):
        assert plan(section(name, stages=part), scope)[-1].stages == stages
    assert plan(section(name, stages="decoder"), scope)[-1].frozen_stages(8) == 5
    with pytest.raises(PolicyError, match=r"has the parts encoder, decoder\. Received: middle\. Use one of them, or a"):
        plan(section(name, stages="middle"), scope)
    with pytest.raises(PolicyError, match=r"has no parts that have a name\. Received: encoder\. Use a number"):
        plan(section(name, stages="encoder"), Scope(8, 4, solves_head=True))


def test_batch_norm_is_frozen_after_a_head_phase_and_adapts_without():
    scope = Scope(5, 4, solves_head=True)
    names = ("last_stages", "full", "lp_ft", "gradual", "lora", "batch_norm", "layer_norm", "bias")
    last = {name: plan(section(name), scope)[-1].batch_norm for name in names}
    frozen = {name for name, batch_norm in last.items() if batch_norm == "frozen"}
    assert frozen == {"lp_ft", "gradual", "lora", "layer_norm"}
    assert plan(section("lp_ft", batch_norm="adapt"), scope)[-1].batch_norm == "adapt"


def test_a_solved_head_is_one_phase_of_one_epoch():
    head, _ = plan(section("lp_ft"), Scope(5, 4, solves_head=True))
    assert (head.solve, head.epochs) == (True, 1)


@pytest.mark.parametrize("name", ["lp_ft", "gradual"])
def test_epochs_for_a_head_that_is_solved_are_an_error(name):
    with pytest.raises(
        PolicyError, match=r"policy\.head_epochs: the head is solved.*Received: 3\. Set policy\.head_sol"
    ):
        plan(section(name, head_epochs=3), Scope(5, 4, solves_head=True))
    assert plan(section(name, head_epochs=3), Scope(5, 4, solves_head=False))[0].epochs == 3


def test_gradual_releases_groups_of_stages_from_the_head_down():
    config = section("gradual", groups=3, group_epochs=2, fine_tune_rate=0.5)
    phases = plan(config, Scope(7, 4, solves_head=True))
    assert [phase.stages for phase in phases] == [(), (5, 6), (3, 4, 5, 6), (0, 1, 2, 3, 4, 5, 6)]
    assert [phase.epochs for phase in phases] == [1, 2, 2, 4]
    assert [phase.rate for phase in phases] == [1.0, 0.5, 0.5, 0.5]


def test_more_groups_than_stages_is_an_error_with_the_range():
    with pytest.raises(PolicyError, match=r"policy\.groups.* 5 stages .*Received: 6\. Use 1 to 5"):
        plan(section("gradual", groups=6), Scope(5, 4, solves_head=True))
    with pytest.raises(PolicyError, match=r"policy\.groups.* 2 stages .*Received: 3\. Use 1 to 2"):
        plan(section("gradual", stages=2), Scope(5, 4, solves_head=True))


@pytest.mark.parametrize("name", ["lp_ft", "gradual", "lora", "batch_norm", "layer_norm", "bias"])
def test_other_policies_train_all_stages_or_the_last(name):
    scope = Scope(5, 4, solves_head=True)
    assert plan(section(name), scope)[-1].stages == (0, 1, 2, 3, 4)
    assert plan(section(name, stages=3), scope)[-1].stages == (2, 3, 4)
    with pytest.raises(PolicyError, match=r"policy\.stages.* 5 stages\. Received: 9"):
        plan(section(name, stages=9), scope)


def test_lora_has_adapters_of_the_rank_in_every_stage():
    (every,) = plan(section("lora", rank=4), Scope(5, 4, solves_head=True))
    assert (every.stages, every.lora_rank) == ((0, 1, 2, 3, 4), 4)


def test_groups_divide_the_stages_that_train():
    phases = plan(section("gradual", groups=2, stages=4), Scope(7, 4, solves_head=True))
    assert [phase.stages for phase in phases] == [(), (5, 6), (3, 4, 5, 6)]


def test_rates_are_low_after_a_solved_head_and_high_for_few_weights():
    scope = Scope(5, 4, solves_head=True)
    rates = {"last_stages": 1.0, "full": 1.0, "lp_ft": 0.3, "gradual": 0.3, "lora": 10.0, "bias": 10.0}
    assert {name: plan(section(name), scope)[-1].rate for name in rates} == rates
    assert {plan(section(name, fine_tune_rate=0.5), scope)[-1].rate for name in rates} == {0.5}


def test_frozen_stages_are_those_before_the_first_trained_one():
    assert Phase("head", (), 1, 1.0, "frozen").frozen_stages(5) == 5
    assert Phase("last", (3, 4), 1, 1.0, "frozen").frozen_stages(5) == 3
    assert Phase("full", (0, 1), 1, 1.0, "frozen").frozen_stages(2) == 0


@pytest.mark.parametrize(
    ("name", "other"), [("lp_ft", "adapt"), ("gradual", "adapt"), ("full", "frozen"), ("bias", "frozen")]
)
def test_batch_norm_is_an_error_if_the_backbone_has_none(name, other):
    scope = Scope(5, 4, solves_head=True, has_batch_norm=False)
    with pytest.raises(PolicyError, match=r"policy\.batch_norm: the backbone has no BatchNorm layers\. Leave it out\."):
        plan(section(name, batch_norm=other), scope)
    assert plan(section(name), scope) == plan(section(name), Scope(5, 4, solves_head=True))


@pytest.mark.parametrize("name", ["head", "last_stages", "lp_ft"])
def test_auto_passes_set_keys_to_its_candidates_and_leaves_their_defaults(name):
    keys = {"stages": 2, "fine_tune_rate": 0.5, "head_solver": "sgd", "budget_seconds": 60.0}
    given, plain = section("auto", **keys), section("auto")
    assert candidate_section(plain, name) == section(name)
    own = {key: value for key, value in keys.items() if key in POLICY_SECTIONS[name].model_fields}
    assert candidate_section(given, name) == section(name, **own)
