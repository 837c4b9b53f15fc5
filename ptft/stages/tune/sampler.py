"""Which settings to try next, and which of them mattered: Optuna's, without any state of its own.

A proposal follows from the seed, its number and what the trials before it came to: a search that was cut proposes the
same again.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ptft.errors import not_imported
from ptft.stages.tune.space import Dimension, is_same

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study

RANDOM = 10
"""Trials from which on proposals follow from what was found; those before are drawn at random."""
DRAWS, MOST = 16, 10_000
"""Of settings that are tried already: from the first on they are drawn at random, until some are new."""


class Known(NamedTuple):
    """What a trial came to. settings: a value for every dimension. reached: how many rungs; value: at the last of them.

    whole: whether it was trained to its end. A trial without a value failed, which counts as the worst.
    """

    settings: Mapping[str, Any]
    reached: int
    value: float | None
    whole: bool


def check() -> None:
    """Raises ConfigError where Optuna can't be imported."""
    try:
        import optuna
    except ImportError as error:
        raise not_imported("stage=tune needs the package optuna", "optuna", "'ptft[tune]'", error) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def proposed(
    dimensions: Sequence[Dimension], known: Sequence[Known], mode: str, seed: int, number: int
) -> dict[str, Any]:
    """Settings of the trial of that number that none of `known` has, by a tree-structured Parzen estimator (Bergstra et
    al. 2011), of all keys together (Falkner et al. 2018).

    Optuna proposes the same again, as its objectives may be random; a training with the same seed is not. Some must be
    left in the space.
    """
    from optuna.samplers import RandomSampler, TPESampler

    own = int(hashlib.sha256(f"{seed} {number}".encode()).hexdigest()[:8], 16)
    study = _study(dimensions, known, mode, TPESampler(n_startup_trials=RANDOM, multivariate=True, seed=own))
    distributions = {each.key: _distribution(each) for each in dimensions}
    for draw in range(MOST):
        if draw == DRAWS:
            study.sampler = RandomSampler(seed=own)
        drawn = study.ask(distributions).params
        settings = {
            each.key: each.choices[drawn[each.key]] if each.choices else each.rounded(drawn[each.key])
            for each in dimensions
        }
        if not any(_are_same(settings, each.settings) for each in known):
            break
    return settings


def _are_same(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    return all(is_same(value, theirs[key]) for key, value in ours.items())


def importance(dimensions: Sequence[Dimension], known: Sequence[Known], mode: str) -> dict[str, float]:
    """Which part of what sets the best fourth of the trials apart each key explains, the largest first, in all 1.

    By PED-ANOVA (Watanabe et al. 2023); {} where no key does. known: with values that can be compared.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    study = _study(dimensions, [each._replace(whole=True) for each in known if each.value is not None], mode)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is said to be experimental, and of few trials that they are few
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=0.25))
    return {key: float(share) for key, share in found.items()} if any(found.values()) else {}


def _study(dimensions: Sequence[Dimension], known: Sequence[Known], mode: str, sampler: Any = None) -> Study:
    import optuna
    from optuna.trial import TrialState

    study = optuna.create_study(direction="maximize" if mode == "max" else "minimize", sampler=sampler)
    distributions = {each.key: _distribution(each) for each in dimensions}
    for each in known:
        reports = {} if each.value is None else {each.reached: each.value}
        study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE if each.whole and reports else TrialState.PRUNED,
                value=each.value if each.whole else None,
                params={dimension.key: _param(dimension, each.settings[dimension.key]) for dimension in dimensions},
                distributions=distributions,
                intermediate_values=reports,
            )
        )
    return study


def _distribution(each: Dimension) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if each.choices:
        return CategoricalDistribution(list(range(len(each.choices))))
    if each.whole:
        return IntDistribution(int(each.low), int(each.high), log=each.log, step=int(each.step or 1))
    return FloatDistribution(each.low, each.high, log=each.log, step=each.step)


def _param(each: Dimension, value: Any) -> Any:
    if not each.choices:
        return value
    return next(i for i, choice in enumerate(each.choices) if is_same(choice, value))
