"""Policies: which stages train in which phase, and at which relative learning rate."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from keras_transfer.config.policies import (
    POLICY_SECTIONS,
    AutoPolicyConfig,
    BatchNormPolicyConfig,
    BiasPolicyConfig,
    FullPolicyConfig,
    GradualPolicyConfig,
    HeadPolicyConfig,
    LastStagesPolicyConfig,
    LayerNormPolicyConfig,
    LoraPolicyConfig,
    LpFtPolicyConfig,
    PolicyConfig,
)
from keras_transfer.config.section import is_set
from keras_transfer.errors import PolicyError
from keras_transfer.registry import Registry


@dataclass(frozen=True)
class Phase:
    """One compile and fit with a fixed set of trainable weights. The head trains in every phase.

    Attributes:
        name: Its name in history and progress.
        stages: Indices of the backbone's stages that train, in order.
        epochs: Number of passes over the training rows.
        rate: Factor on the recipe's learning rate.
        batch_norm: With ``frozen``, the BatchNorm layers of trained stages use their stored statistics and weights;
            with ``adapt``, they are trained. In frozen stages they are always frozen.
        stage_decay: Factor on the learning rate from each stage to the next one towards the input.
        weights: Which weights of the trained stages are trained.
        lora_rank: Rank of the adapters that are trained instead of the weights of the stages; None without adapters.
        lora_layers: The layers that have an adapter.
        solve: Whether the head is solved instead of trained; no stage is trained then.

    Example:
        >>> phase = Phase("top", stages=(3, 4), epochs=2, rate=0.1, batch_norm="frozen")
        >>> phase.frozen_stages(5)
        3
    """

    name: str
    stages: tuple[int, ...]
    epochs: int
    rate: float
    batch_norm: Literal["frozen", "adapt"]
    stage_decay: float = 1.0
    weights: Literal["all", "batch_norm", "layer_norm", "bias"] = "all"
    lora_rank: int | None = None
    lora_layers: Literal["all", "query_value"] = "all"
    solve: bool = False

    def frozen_stages(self, stages: int) -> int:
        """Return the number of stages, counted from the input, that stay frozen in this phase.

        Args:
            stages: Number of stages of the backbone.
        """
        return min(self.stages, default=stages)


@dataclass(frozen=True)
class Scope:
    """The stages and epochs that a policy divides into phases.

    Attributes:
        stages: Number of stages of the backbone.
        epochs: The recipe's training.epochs.
        solves_head: Whether a phase that trains the head alone solves it.
        has_batch_norm: Whether the stages have BatchNorm layers.
        parts: Named sequences of stages: indices of their stages, in order.
    """

    stages: int
    epochs: int
    solves_head: bool
    has_batch_norm: bool = True
    parts: Mapping[str, range] = field(default_factory=dict)

    def last_stages(self, count: int | str | None = None) -> tuple[int, ...]:
        """Return the indices of the last stages, those next to the head, or of a named part.

        Args:
            count: Number of stages; the name of a part; None for all.

        Raises:
            PolicyError: The backbone has fewer stages, or no such part.
        """
        if isinstance(count, str):
            return self._find_part(count)
        if count is not None and count > self.stages:
            raise PolicyError(
                f"policy.stages: the backbone has {self.stages} stages. Received: {count}. "
                f"Use 1 to {self.stages}, or policy.name=full for all of them."
            )
        return tuple(range(self.stages))[self.stages - (count or self.stages) :]

    def _find_part(self, name: str) -> tuple[int, ...]:
        if name not in self.parts:
            known = f"the parts {', '.join(self.parts)}" if self.parts else "no parts that have a name"
            raise PolicyError(
                f"policy.stages: the backbone has {known}. Received: {name}. "
                f"Use {'one of them, or ' * bool(self.parts)}a number of stages from 1 to {self.stages}."
            )
        return tuple(self.parts[name])

    def head_phase(self, epochs: int) -> Phase:
        """Return a phase that trains only the head, or solves it, which takes one epoch.

        Args:
            epochs: Number of epochs if the head is trained.
        """
        return Phase("head", (), 1 if self.solves_head else epochs, 1.0, "frozen", solve=self.solves_head)


S = TypeVar("S", bound=PolicyConfig)


@dataclass(frozen=True)
class Policy(Generic[S]):
    """A way to divide training into phases.

    Attributes:
        section: The keys of the policy in a recipe, with their defaults; its ``name`` is the policy's name.
        phases: Turns a section and a scope into phases, in order. Raises PolicyError if the section does not fit the
            scope.

    Example:
        >>> from typing import Literal
        >>> class TopPolicyConfig(PolicyConfig):
        ...     name: Literal["top"] = "top"
        ...     stages: int = 1
        >>> def divide(config: TopPolicyConfig, scope: Scope) -> tuple[Phase, ...]:
        ...     return (Phase("top", scope.last_stages(config.stages), scope.epochs, rate=1.0, batch_norm="frozen"),)
        >>> Policy(TopPolicyConfig, divide).name
        'top'
    """

    section: type[S]
    phases: Callable[[S, Scope], tuple[Phase, ...]]

    @property
    def name(self) -> str:
        """The name in a recipe."""
        return str(self.section.model_fields["name"].default)


class _Policies(Registry[Policy[Any]]):
    """A policy that is added also adds its section, so that recipes can have its keys."""

    def add(self, name: str, value: Policy[Any]) -> Policy[Any]:
        super().add(name, value)
        if name not in POLICY_SECTIONS:
            POLICY_SECTIONS.add(name, value.section)
        return value


POLICIES = _Policies("policy", PolicyError, group="keras_transfer.policies")
"""All policies by name."""


def plan(config: PolicyConfig, scope: Scope) -> tuple[Phase, ...]:
    """Turn a recipe's policy into phases.

    Raises:
        PolicyError: There is no such policy, or it does not fit the backbone.
    """
    return POLICIES[config.name].phases(config, scope)


def _check_batch_norm(config: PolicyConfig, scope: Scope) -> None:
    if is_set(config, "batch_norm") and not scope.has_batch_norm:
        raise PolicyError("policy.batch_norm: the backbone has no BatchNorm layers. Leave it out.")


def _head(config: HeadPolicyConfig, scope: Scope) -> tuple[Phase, ...]:
    return (scope.head_phase(scope.epochs),)


def _last_stages(config: LastStagesPolicyConfig, scope: Scope) -> tuple[Phase, ...]:
    return (_stages_phase("last_stages", scope.last_stages(config.stages), scope.epochs, config, scope),)


def _full(config: FullPolicyConfig, scope: Scope) -> tuple[Phase, ...]:
    return (_stages_phase("full", scope.last_stages(), scope.epochs, config, scope),)


def _lp_ft(config: LpFtPolicyConfig, scope: Scope) -> tuple[Phase, ...]:
    """Linear probing, then fine-tuning (Kumar et al. 2022, arXiv 2202.10054)."""
    stages = scope.last_stages(config.stages)
    return (_head_before(config, scope), _stages_phase("fine_tune", stages, scope.epochs, config, scope))


def _gradual(config: GradualPolicyConfig, scope: Scope) -> tuple[Phase, ...]:
    """Gradual unfreezing (Howard and Ruder 2018, arXiv 1801.06146): the head, then group after group of stages."""
    released = scope.last_stages(config.stages)
    if config.groups > len(released):
        raise PolicyError(
            f"policy.groups: there are {len(released)} stages to divide. Received: {config.groups}. "
            f"Use 1 to {len(released)}."
        )
    phases = [_head_before(config, scope)]
    for group in range(1, config.groups + 1):
        trained = released[len(released) - group * len(released) // config.groups :]
        epochs = scope.epochs if group == config.groups else config.group_epochs
        phases.append(_stages_phase(f"group_{group}", trained, epochs, config, scope))
    return tuple(phases)


def _head_before(config: LpFtPolicyConfig | GradualPolicyConfig, scope: Scope) -> Phase:
    if scope.solves_head and is_set(config, "head_epochs"):
        raise PolicyError(
            f"policy.head_epochs: the head is solved, which takes no epochs. Received: {config.head_epochs}. "
            "Set policy.head_solver=sgd to train it, or leave policy.head_epochs out."
        )
    return scope.head_phase(config.head_epochs)


def _stages_phase(
    name: str,
    stages: tuple[int, ...],
    epochs: int,
    config: LastStagesPolicyConfig | FullPolicyConfig | LpFtPolicyConfig | GradualPolicyConfig,
    scope: Scope,
) -> Phase:
    _check_batch_norm(config, scope)
    return Phase(name, stages, epochs, config.fine_tune_rate, config.batch_norm, config.stage_decay)


def _lora(config: LoraPolicyConfig, scope: Scope) -> tuple[Phase, ...]:
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685)."""
    return (
        Phase(
            "lora",
            scope.last_stages(config.stages),
            scope.epochs,
            config.fine_tune_rate,
            "frozen",
            config.stage_decay,
            lora_rank=config.rank,
            lora_layers=config.lora_layers,
        ),
    )


def _batch_norm(config: BatchNormPolicyConfig, scope: Scope) -> tuple[Phase, ...]:
    stages = scope.last_stages(config.stages)
    rate, decay = config.fine_tune_rate, config.stage_decay
    return (Phase("batch_norm", stages, scope.epochs, rate, "adapt", decay, weights="batch_norm"),)


def _layer_norm(config: LayerNormPolicyConfig, scope: Scope) -> tuple[Phase, ...]:
    stages = scope.last_stages(config.stages)
    rate, decay = config.fine_tune_rate, config.stage_decay
    return (Phase("layer_norm", stages, scope.epochs, rate, "frozen", decay, weights="layer_norm"),)


def _bias(config: BiasPolicyConfig, scope: Scope) -> tuple[Phase, ...]:
    """BitFit (Ben Zaken et al. 2021, arXiv 2106.10199)."""
    _check_batch_norm(config, scope)
    stages = scope.last_stages(config.stages)
    rate, decay = config.fine_tune_rate, config.stage_decay
    return (Phase("bias", stages, scope.epochs, rate, config.batch_norm, decay, weights="bias"),)


CANDIDATES = ("head", "last_stages", "lp_ft")
"""The policies that ``auto`` chooses from, the one with the least work first."""


def candidate_section(config: AutoPolicyConfig, name: str) -> PolicyConfig:
    """Return the section of a policy that ``auto`` can choose, with the keys that a recipe sets.

    Args:
        config: The section of ``auto``.
        name: One of :data:`CANDIDATES`.
    """
    section = POLICY_SECTIONS[name]
    keys = set(section.model_fields) & {key for key, value in config if value is not None} - {"name"}
    return section(name=name, **{key: getattr(config, key) for key in sorted(keys)})


def _auto(config: AutoPolicyConfig, scope: Scope) -> tuple[Phase, ...]:
    """The candidate with the most phases, after all were checked; the choice between them depends on the data."""
    return [plan(candidate_section(config, name), scope) for name in CANDIDATES][-1]


_OWN: tuple[Policy[Any], ...] = (
    Policy(AutoPolicyConfig, _auto),
    Policy(HeadPolicyConfig, _head),
    Policy(LastStagesPolicyConfig, _last_stages),
    Policy(FullPolicyConfig, _full),
    Policy(LpFtPolicyConfig, _lp_ft),
    Policy(GradualPolicyConfig, _gradual),
    Policy(LoraPolicyConfig, _lora),
    Policy(BatchNormPolicyConfig, _batch_norm),
    Policy(LayerNormPolicyConfig, _layer_norm),
    Policy(BiasPolicyConfig, _bias),
)
for _policy in _OWN:
    POLICIES.add(_policy.name, _policy)
