"""Ranking quality: NDCG and hit rate of rankings, compared user by user with a bootstrap interval.

Source: Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques" (2002), binary gain;
Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13, percentile interval.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Group
from rich.table import Table

CUT = 10
RESAMPLE_COUNT = 2_000


@dataclass(frozen=True, slots=True)
class Quality:
    """One ranking's NDCG@10 per user and whether its ten had a relevant movie, both (users,) float64."""

    name: str
    ndcg: NDArray[np.float64]
    hit: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of a - b over users, with the 2.5th and 97.5th percentile of its bootstrap distribution."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class QualityReport:
    """The ranker beside the baselines, over the same users."""

    ranker: Quality
    retrieval: Quality
    popularity: Quality
    user_count: int
    without_relevant_count: int
    relevant_count: int

    @property
    def beats_popularity(self) -> bool:
        """Whether the whole interval of the NDCG difference lies above zero."""
        return difference(self.ranker.ndcg, self.popularity.ndcg).low > 0.0

    def figures(self) -> dict[str, float]:
        """Flat numbers for a machine to read."""
        figures: dict[str, float] = {"users": self.user_count}
        for quality in (self.ranker, self.retrieval, self.popularity):
            figures[f"{quality.name}_ndcg_at_{CUT}"] = float(quality.ndcg.mean())
            figures[f"{quality.name}_hit_rate_at_{CUT}"] = float(quality.hit.mean())
        for baseline in (self.retrieval, self.popularity):
            gain = difference(self.ranker.ndcg, baseline.ndcg)
            figures[f"ndcg_over_{baseline.name}"] = gain.mean
            figures[f"ndcg_over_{baseline.name}_low"] = gain.low
            figures[f"ndcg_over_{baseline.name}_high"] = gain.high
        return figures

    def render(self) -> Group:
        """A table and the verdict, for a rich console."""
        table = Table(title="Held-out ratings: what did users go on to like?")
        table.add_column("ranking")
        for head in (f"NDCG@{CUT}", f"hit rate@{CUT}", f"ranker's NDCG@{CUT} less this one's, 95% interval"):
            table.add_column(head, justify="right")
        for quality in (self.ranker, self.retrieval, self.popularity):
            table.add_row(
                quality.name, f"{quality.ndcg.mean():.4f}", f"{quality.hit.mean():.1%}", self._gain(quality)
            )
        return Group(table, *self.sentences())

    def sentences(self) -> list[str]:
        """What was measured, and the verdict, in plain words."""
        evaluated = f"{self.user_count} users with {self.relevant_count:,} held-out ratings of 4 or more"
        left_out = f"({self.without_relevant_count} users have none)"
        return [
            f"{evaluated} {left_out}; movies rated before are excluded.",
            self._verdict(),
            self._verdict_on_order(),
        ]

    def _gain(self, baseline: Quality) -> str:
        if baseline is self.ranker:
            return ""
        gain = difference(self.ranker.ndcg, baseline.ndcg)
        return f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"

    def _verdict(self) -> str:
        gain = difference(self.ranker.ndcg, self.popularity.ndcg)
        if gain.low > 0.0:
            return f"The ranker beats popularity: {gain.mean / self.popularity.ndcg.mean():+.0%} NDCG@{CUT}."
        cause = (
            "the difference is within the noise of this many users"
            if gain.high > 0.0
            else "the embeddings alone are no better, so its candidates are poor"
            if difference(self.retrieval.ndcg, self.popularity.ndcg).low <= 0.0
            else "its candidates by embedding are better than popularity, and its order makes them worse"
        )
        return f"The ranker does NOT beat popularity: {cause}."

    def _verdict_on_order(self) -> str:
        gain = difference(self.ranker.ndcg, self.retrieval.ndcg)
        if gain.low > 0.0:
            return "It also beats the order in which its candidates were retrieved."
        if gain.high < 0.0:
            return "It is worse than the order in which its candidates were retrieved."
        return "Against the order of retrieval, the difference is within the noise of this many users."


def measure(
    name: str, rankings: Mapping[int, Sequence[int]], relevant: Mapping[int, Collection[int]]
) -> Quality:
    """The quality over the users of `relevant`; each has at least one relevant movie.

    Raises: ValueError for a user without a ranking, or a ranking that names a movie twice.
    """
    discount = 1.0 / np.log2(np.arange(2, CUT + 2))  # (10,)
    ndcg = np.zeros(len(relevant))
    hit = np.zeros(len(relevant))
    for row, (user, wanted) in enumerate(relevant.items()):
        if user not in rankings:
            raise ValueError(f"{name} has no ranking for some of the users")
        ranking = rankings[user][:CUT]
        if len(set(ranking)) < len(ranking):
            raise ValueError(f"{name} ranks a movie twice")
        gains = np.array([movie in wanted for movie in ranking], dtype=np.float64)
        ndcg[row] = (gains * discount[: len(gains)]).sum() / discount[: len(wanted)].sum()
        hit[row] = gains.any()
    return Quality(name, ndcg, hit)


def difference(a: NDArray[np.float64], b: NDArray[np.float64]) -> Difference:
    """Paired by user, resampled over users with a fixed seed. Shapes: both (users,)."""
    paired = a - b
    users = np.random.default_rng(0).integers(0, len(paired), (RESAMPLE_COUNT, len(paired)))
    low, high = np.quantile(paired[users].mean(axis=1), (0.025, 0.975))
    return Difference(float(paired.mean()), float(low), float(high))
