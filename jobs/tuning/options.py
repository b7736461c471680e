"""What whoever tunes a refresh may ask: which metric, how much of it may be lost, which intervals to try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from forebay.errors import InvalidRequest

from jobs.training.labels import LabelOptions
from registry.durations import format_duration, parse_duration_us

METRICS = ("auc", "rmse", "ndcg")
LADDER = ("5m", "15m", "30m", "1h", "2h", "3h", "6h", "12h", "1d", "2d", "3d", "7d", "14d", "30d")
MAX_STEPS = 100


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a schedule must keep: `absolute`, the metric itself, or else `lost`, the share of the freshest's
    metric that may be lost."""

    absolute: float | None = None
    lost: float = 0.01

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """Return what `0.72` or `1%` means. Raises: InvalidRequest."""
        try:
            number = float(text.removesuffix("%"))
        except ValueError as error:
            raise InvalidRequest(
                f"--threshold takes a figure such as 0.72, or a share such as 1%, not {text!r}"
            ) from error
        if not text.endswith("%"):
            return cls(absolute=number)
        if not 0 <= number < 100:
            raise InvalidRequest("--threshold: a share that may be lost is from 0% to below 100%")
        return cls(lost=number / 100)

    def __str__(self) -> str:
        return (
            f"{self.absolute:g}" if self.absolute is not None else f"{self.lost:.6g} of the freshest's lost"
        )


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """`labels` with their column `outcome`: what is replayed. `as_is` and `every_us` say how the pipeline's
    other views are joined. `group`: the column whose rows are ranked against each other (ndcg). `score`: of
    the model's scores; the first where it is empty."""

    view: str
    pipeline: str
    labels: LabelOptions
    outcome: str
    metric: str = "auc"
    threshold: Threshold = Threshold()
    intervals_us: tuple[int, ...] = tuple(map(parse_duration_us, LADDER))
    as_is: frozenset[str] = frozenset()
    every_us: Mapping[str, int] = field(default_factory=dict)
    group: str = ""
    at: int = 10
    score: str = ""
    draws: int = 300
    confidence: float = 0.95


def parse_intervals(text: str) -> tuple[int, ...]:
    """Return `1h,6h,1d` in microseconds. Raises: InvalidRequest for what isn't, or doesn't ascend."""
    try:
        found = tuple(parse_duration_us(part.strip()) for part in text.split(","))
    except ValueError as error:
        raise InvalidRequest(f"--intervals: {error}") from error
    check_intervals(found)
    return found


def check_intervals(intervals_us: Sequence[int]) -> None:
    """Raises: InvalidRequest for intervals that don't ascend, or too many."""
    if len(intervals_us) > MAX_STEPS:
        raise InvalidRequest(f"--intervals: at most {MAX_STEPS} are tried, not {len(intervals_us)}")
    for shorter, longer in pairwise(intervals_us):
        if longer <= shorter:
            raise InvalidRequest(
                f"--intervals: each is longer than the one before, and {format_duration(longer)} isn't"
            )
