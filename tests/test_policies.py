"""From a recipe's policy to phases."""

import pytest

from keras_transfer.config import PolicyConfig
from keras_transfer.errors import PolicyError
from keras_transfer.policies import plan


def test_head_trains_no_stage():
    (phase,) = plan(PolicyConfig(name="head"), stages=5, epochs=4)
    assert (phase.stages, phase.epochs, phase.rate) == ((), 4, 1.0)


def test_last_stages_counts_from_the_head():
    (phase,) = plan(PolicyConfig(name="last_stages", stages=2, batch_norm="adapt"), stages=5, epochs=4)
    assert (phase.stages, phase.batch_norm) == ((3, 4), "adapt")


def test_full_trains_every_stage():
    (phase,) = plan(PolicyConfig(name="full"), stages=5, epochs=4)
    assert phase.stages == (0, 1, 2, 3, 4)


def test_lp_ft_is_a_head_phase_then_all_stages_at_a_lower_rate():
    config = PolicyConfig(name="lp_ft", head_epochs=3, fine_tune_rate=0.1, batch_norm="adapt")
    head, full = plan(config, stages=5, epochs=4)
    assert (head.name, head.stages, head.epochs, head.rate) == ("head", (), 3, 1.0)
    assert (full.name, full.stages, full.epochs, full.rate) == ("fine_tune", (0, 1, 2, 3, 4), 4, 0.1)
    assert (head.batch_norm, full.batch_norm) == ("frozen", "adapt")


def test_more_stages_than_there_are_is_an_error_with_the_range():
    with pytest.raises(PolicyError, match=r"has 5 stages\. Received: 6\. Use 1 to 5"):
        plan(PolicyConfig(name="last_stages", stages=6), stages=5, epochs=4)
