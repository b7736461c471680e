"""The Python client of forebay: `forebay.Client`, its async twin `forebay.aio.Client`, what they return, and
the errors they raise."""

from forebay import aio
from forebay._retry import Counts, Retry
from forebay._stream import PredictStream
from forebay.client import Client
from forebay.errors import (
    Conflict,
    Corrupt,
    DeadlineExceeded,
    Denied,
    Error,
    Internal,
    InvalidRequest,
    NotFound,
    NotUsable,
    Overloaded,
    Pending,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from forebay.results import Answer, FeatureTable, Item
from forebay.types import Degradation, Outcome, Outcomes, Provenance, StageTiming, Status, WriteProblem

__all__ = [
    "Answer",
    "Client",
    "Conflict",
    "Corrupt",
    "Counts",
    "DeadlineExceeded",
    "Degradation",
    "Denied",
    "Error",
    "FeatureTable",
    "Internal",
    "InvalidRequest",
    "Item",
    "NotFound",
    "NotUsable",
    "Outcome",
    "Outcomes",
    "Overloaded",
    "Pending",
    "PredictStream",
    "Provenance",
    "Retry",
    "StageTiming",
    "Status",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "WriteProblem",
    "aio",
]
