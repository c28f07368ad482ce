"""The policy sections: one per policy, with the keys that this policy uses and their defaults."""

from typing import Annotated, Any, Literal

from pydantic import Field, StrictFloat, StrictStr

from keras_transfer.config.section import Count, Rate, Section
from keras_transfer.errors import PolicyError
from keras_transfer.registry import Registry

_WHICH = "how many stages train, counted from the head, or the name of the part of the backbone that trains"
_STAGES = f"{_WHICH}, such as encoder or decoder; all by default"
_RATE = "factor on training.learning_rate while stages train"
_DECAY = "factor on the learning rate from the head to the last stage, and from each stage to the one before it"
_BATCH_NORM = "BatchNorm layers in stages that train: stored statistics, or those of the batches"
_SOLVER = "a head that trains alone is solved in closed form, or trained; auto: solved if possible"

Stages = Count | Annotated[StrictStr, Field(min_length=1)]
Decay = Annotated[StrictFloat, Field(gt=0.0, le=1.0)]


class PolicyConfig(Section):
    """Which stages train, and when.

    Each policy has a subclass, with its name as the only value of ``name`` and with the keys that it uses. Keys with
    the same meaning have the same name in all of them. The run also reads ``head_solver``: a policy that trains only
    the head has this key.
    """

    name: StrictStr = Field(description="name of the policy")


class _StagesConfig(PolicyConfig):
    """Keys of all policies that train stages."""

    fine_tune_rate: Rate = Field(default=1.0, description=_RATE)
    stage_decay: Decay = Field(default=1.0, description=_DECAY)


class AutoPolicyConfig(PolicyConfig):
    """Chooses head, last_stages or lp_ft by cross-validation and a time budget; passes its keys on to them."""

    name: Literal["auto"] = "auto"
    budget_seconds: Rate | None = Field(default=None, description="limit for training on this machine; none by default")
    stages: Stages | None = Field(default=None, description=f"{_WHICH}; each candidate's own by default")
    batch_norm: Literal["frozen", "adapt"] | None = Field(
        default=None, description=f"{_BATCH_NORM}; each candidate's own by default"
    )
    head_solver: Literal["auto", "solve", "sgd"] = Field(default="auto", description=_SOLVER)
    fine_tune_rate: Rate | None = Field(default=None, description=f"{_RATE}; each candidate's own by default")
    stage_decay: Decay = Field(default=1.0, description=_DECAY)


class HeadPolicyConfig(PolicyConfig):
    """Trains the head alone; all stages stay frozen."""

    name: Literal["head"] = "head"
    head_solver: Literal["auto", "solve", "sgd"] = Field(default="auto", description=_SOLVER)


class LastStagesPolicyConfig(_StagesConfig):
    """Trains the last stages and the head together."""

    name: Literal["last_stages"] = "last_stages"
    stages: Stages = Field(default=3, description=_WHICH)
    batch_norm: Literal["frozen", "adapt"] = Field(default="adapt", description=_BATCH_NORM)


class FullPolicyConfig(_StagesConfig):
    """Trains all stages and the head together."""

    name: Literal["full"] = "full"
    batch_norm: Literal["frozen", "adapt"] = Field(default="adapt", description=_BATCH_NORM)


class _HeadFirstConfig(_StagesConfig):
    """Keys of policies that train stages after the head.

    The head was fitted to the pretrained network: stages then take small steps, and the statistics of single batches
    would change the head's input.
    """

    stages: Stages | None = Field(default=None, description=_STAGES)
    batch_norm: Literal["frozen", "adapt"] = Field(default="frozen", description=_BATCH_NORM)
    head_solver: Literal["auto", "solve", "sgd"] = Field(default="auto", description=_SOLVER)
    head_epochs: Count = Field(default=2, description="epochs of the head alone if it is trained, not solved")
    fine_tune_rate: Rate = Field(default=0.3, description=_RATE)


class LpFtPolicyConfig(_HeadFirstConfig):
    """Trains the head, then the stages and the head together (linear probing, then fine-tuning)."""

    name: Literal["lp_ft"] = "lp_ft"


class GradualPolicyConfig(_HeadFirstConfig):
    """Trains the head, then unfreezes one group of stages after another, from the head down (gradual unfreezing)."""

    name: Literal["gradual"] = "gradual"
    groups: Count = Field(default=3, description="number of groups that the stages are released in")
    group_epochs: Count = Field(
        default=2, description="epochs before the next group is released; the last group has training.epochs"
    )


class FewWeightsConfig(_StagesConfig):
    """Keys of policies that train few weights of each stage, which need larger steps."""

    # Measured on text/bbc_headlines and on digits: docs/experiments.md.
    fine_tune_rate: Rate = Field(default=10.0, description=_RATE)
    stages: Stages | None = Field(default=None, description=_STAGES)


class LoraPolicyConfig(FewWeightsConfig):
    """Trains low-rank adapters in place of the weights of the stages."""

    name: Literal["lora"] = "lora"
    rank: Count = Field(default=8, description="rank of the adapters")
    lora_layers: Literal["all", "query_value"] = Field(
        default="all", description="layers that get an adapter; query_value: the query and value of every attention"
    )


class BatchNormPolicyConfig(FewWeightsConfig):
    """Trains the BatchNorm layers of the stages alone."""

    name: Literal["batch_norm"] = "batch_norm"


class LayerNormPolicyConfig(FewWeightsConfig):
    """Trains the LayerNorm and RMSNorm layers of the stages alone."""

    name: Literal["layer_norm"] = "layer_norm"


class BiasPolicyConfig(FewWeightsConfig):
    """Trains the biases of the stages alone."""

    name: Literal["bias"] = "bias"
    batch_norm: Literal["frozen", "adapt"] = Field(default="adapt", description=_BATCH_NORM)


def _take_section(policy: Any) -> type[PolicyConfig]:
    """Return the section of a plugin's policy."""
    section = getattr(policy, "section", None)
    if not (isinstance(section, type) and issubclass(section, PolicyConfig)):
        raise PolicyError(
            f"A policy needs a section: a subclass of PolicyConfig. Received: {policy!r}. See docs/extend/policies.md."
        )
    return section


POLICY_SECTIONS: Registry[type[PolicyConfig]] = Registry(
    "policy", PolicyError, group="keras_transfer.policies", take=_take_section
)
"""The section of each policy, found without importing a policy of the package itself."""

for _section in (
    AutoPolicyConfig,
    HeadPolicyConfig,
    LastStagesPolicyConfig,
    FullPolicyConfig,
    LpFtPolicyConfig,
    GradualPolicyConfig,
    LoraPolicyConfig,
    BatchNormPolicyConfig,
    LayerNormPolicyConfig,
    BiasPolicyConfig,
):
    POLICY_SECTIONS.add(_section.model_fields["name"].default, _section)
