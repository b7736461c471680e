"""How good a model's scores are, with a bound on chance: AUC, RMSE and NDCG, each for weighted rows, so that
a bootstrap weighs entities anew instead of copying rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from forebay.errors import InvalidRequest
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Metric(Protocol):
    """One metric over n rows whose scores are fixed."""

    @property
    def higher_is_better(self) -> bool: ...

    def of(self, weights: Floats) -> float:
        """Return the metric, row i counting `weights[i]` times; NaN where these weights leave none.

        Shapes: weights (n,), not negative. Cost: a few passes over the rows; nothing is sorted.
        """
        ...


class Auc:
    """The chance that a row with an outcome scores higher than one without; half where they score the same.

    Raises: InvalidRequest for outcomes that aren't 0 and 1, or are all the same.
    Source: Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27 (2006), section 7.
    """

    higher_is_better = True

    def __init__(self, scores: Floats, outcomes: Floats) -> None:
        if not np.isin(outcomes, (0.0, 1.0)).all():
            raise InvalidRequest("auc needs outcomes that are 0 or 1", field="outcome")
        if len(np.unique(outcomes)) < 2:
            raise InvalidRequest(
                "auc needs outcomes of both kinds, and all of these are the same", field="outcome"
            )
        distinct, self._place = np.unique(scores, return_inverse=True)
        self._count = len(distinct)
        self._positive = outcomes

    def of(self, weights: Floats) -> float:
        positive = np.bincount(self._place, weights * self._positive, self._count)
        negative = np.bincount(self._place, weights * (1.0 - self._positive), self._count)
        total = positive.sum() * negative.sum()
        if not total:
            return float("nan")
        below = np.cumsum(negative) - negative / 2
        return float((positive * below).sum() / total)


class Rmse:
    """The root of the mean squared difference between score and outcome."""

    higher_is_better = False

    def __init__(self, scores: Floats, outcomes: Floats) -> None:
        self._squares = (scores - outcomes) ** 2

    def of(self, weights: Floats) -> float:
        total = weights.sum()
        return float(np.sqrt((weights * self._squares).sum() / total)) if total else float("nan")


class Ndcg:
    """The mean over groups of the discounted gain of the first `at` by score, of the best that there could
    be.

    Outcomes are gains. Groups without a gain don't count. Of rows that score the same, each counts the mean
    of their places. A group weighs as much as its rows do on average.
    Raises: InvalidRequest for a negative outcome, or where no group has a gain.
    Source: Jarvelin and Kekalainen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20 (2002).
    """

    higher_is_better = True

    def __init__(self, scores: Floats, outcomes: Floats, groups: NDArray[np.intp], at: int) -> None:
        if (outcomes < 0).any():
            raise InvalidRequest("ndcg needs outcomes that are not negative: they are gains", field="outcome")
        self._group = groups
        self._count = int(groups.max()) + 1 if len(groups) else 0
        found = _discounted(scores, outcomes, groups, self._count, at)
        best = _discounted(outcomes, outcomes, groups, self._count, at)
        self._counts = best > 0
        if not self._counts.any():
            raise InvalidRequest("ndcg needs an outcome above 0", field="outcome")
        self._values = np.divide(found, best, out=np.zeros_like(found), where=self._counts)
        self._sizes = np.bincount(groups, minlength=self._count)

    def of(self, weights: Floats) -> float:
        by_group = np.bincount(self._group, weights, self._count) / self._sizes * self._counts
        total = by_group.sum()
        return float((by_group * self._values).sum() / total) if total else float("nan")


def _discounted(scores: Floats, gains: Floats, groups: NDArray[np.intp], count: int, at: int) -> Floats:
    """Return each group's discounted gain."""
    order = np.lexsort((-scores, groups))
    group, score, gain = groups[order], scores[order], gains[order]
    starts = np.searchsorted(group, group, side="left")
    place = np.arange(len(group)) - starts
    discount = np.where(place < at, 1.0 / np.log2(place + 2.0), 0.0)
    is_new = np.ones(len(group), np.bool_)
    is_new[1:] = (group[1:] != group[:-1]) | (score[1:] != score[:-1])
    tie = np.cumsum(is_new) - 1
    shared = np.bincount(tie, discount) / np.bincount(tie)
    return np.asarray(np.bincount(group, gain * shared[tie], count), np.float64)


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure, and between which it lies with the confidence asked for."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Weights of rows as if entities had been drawn anew, the same for every metric: so metrics are compared
    on the same draws.

    `clusters` (n,) numbers the entity of each row: rows of one entity aren't independent, and are drawn
    together. Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 13 and 16.
    """

    clusters: NDArray[np.intp]
    draws: int
    confidence: float
    seed: int = 0

    def interval(self, figure: Callable[[Floats], float]) -> Interval:
        """Return what `figure` makes of the rows, and its percentile interval."""
        random = np.random.default_rng(self.seed)
        count = int(self.clusters.max()) + 1
        drawn = [
            figure(random.multinomial(count, np.full(count, 1 / count)).astype(np.float64)[self.clusters])
            for _ in range(self.draws)
        ]
        tail = (1 - self.confidence) / 2
        low, high = np.nanquantile(drawn, [tail, 1 - tail])
        return Interval(figure(np.ones(len(self.clusters))), float(low), float(high))
