"""The Parquet tables that movies.yaml names as sources, and the held-out ratings beside them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from examples.movies.prepare.features import Features
from examples.movies.prepare.ratings import Catalogue, Ratings

_MICROSECONDS = 1_000_000


def write_ratings(path: Path, ratings: Ratings, catalogue: Catalogue, shift_us: int) -> None:
    """One row per rating, its time shifted by `shift_us`."""
    rated_at = pa.array(ratings.at_s * _MICROSECONDS + shift_us).cast(pa.timestamp("us", tz="UTC"))
    write_table(
        path,
        {
            "user_id": pa.array(catalogue.users[ratings.user]),
            "movie_id": pa.array(catalogue.movies[ratings.movie]),
            "rating": pa.array(ratings.rating),
            "rated_at": rated_at,
        },
    )


def write_movies(path: Path, catalogue: Catalogue, rated: NDArray[np.int64], features: Features) -> None:
    """One row per movie of `rated`, in key order."""
    write_table(
        path,
        {
            "movie_id": pa.array(catalogue.movies[rated]),
            "title": pa.array([catalogue.titles[movie] for movie in rated], pa.string()),
            **{name: _column(values) for name, values in features.items()},
        },
    )


def write_user_taste(
    path: Path, catalogue: Catalogue, features: Features, seen: list[NDArray[np.int64]]
) -> None:
    """One row per user, in key order; `seen` holds movie keys."""
    write_table(
        path,
        {
            "user_id": pa.array(catalogue.users),
            **{name: _column(values) for name, values in features.items()},
            "seen": pa.array([catalogue.movies[movies] for movies in seen], pa.list_(pa.int64())),
        },
    )


def write_table(path: Path, columns: Mapping[str, pa.Array]) -> None:
    """The file is there whole, or as it was."""
    partial = path.with_suffix(".partial")
    pq.write_table(pa.table(dict(columns)), partial)
    partial.replace(path)


def _column(values: NDArray[Any]) -> pa.Array:
    """Integers as they are, float32 (n,) with nulls for NaN, or a fixed-size list column of (n, width)."""
    if values.dtype.kind == "i":
        return pa.array(values)
    if values.ndim == 1:
        return pa.array(values, pa.float32(), mask=np.isnan(values))
    flat = pa.array(np.ascontiguousarray(values).ravel(), pa.float32())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
