"""The recommendations as `movies_for_user` makes them, but offline: numpy and ONNX Runtime over the tables.

For choosing a model before a server runs, and for checking that the served answers agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
from numpy.typing import NDArray

from examples.movies.application import MovieApplication, read_application
from examples.movies.retrieval import nearest

Ranking = dict[int, list[int]]
"""Movie keys per user key, best first."""


@dataclass(frozen=True, slots=True)
class Table:
    """A Parquet table by key: floats as (n,) or (n, width) with NaN for null, sorted by `keys`."""

    keys: NDArray[np.int64]
    columns: dict[str, NDArray[Any]]

    def positions(self, keys: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the keys stand. Raises: KeyError for one that is not there."""
        wanted = np.asarray(keys, dtype=np.int64)
        places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        if not np.array_equal(self.keys[places], wanted):
            raise KeyError("a key is not in the table")
        return places


def read_table(path: Path, key: str) -> Table:
    """The table's numeric columns; strings and variable lists are left out."""
    table = pq.read_table(path)
    columns = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        if hasattr(column.type, "list_size"):
            columns[name] = column.flatten().to_numpy().reshape(-1, column.type.list_size)
        elif str(column.type) in ("float", "double", "int64", "int32"):
            columns[name] = column.to_numpy(zero_copy_only=False)
    return Table(columns.pop(key), columns)


def read_seen(directory: Path) -> dict[int, NDArray[np.int64]]:
    """The movies that each user rated in the training part."""
    table = pq.read_table(directory / "data/user_taste.parquet", columns=["user_id", "seen"])
    seen = (np.array(movies, dtype=np.int64) for movies in table["seen"].to_pylist())
    return dict(zip(table["user_id"].to_pylist(), seen, strict=True))


class OfflineRanker:
    """Ranks from the tables and the model in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.application: MovieApplication = read_application(directory / "movies.yaml")
        self.users = read_table(directory / "data/user_taste.parquet", "user_id")
        self.movies = read_table(directory / "data/movies.parquet", "movie_id")
        self._seen = read_seen(directory)
        self._session = onnxruntime.InferenceSession(
            str(directory / "models/ranker/1/model.onnx"), providers=["CPUExecutionProvider"]
        )

    def retrieve(self, users: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Each user's candidates by inner product, unseen, best first: positions and scores (users, k)."""
        return nearest(
            self.users.columns["embedding"][self.users.positions(users)],
            self.movies.columns["embedding"],
            self.application.candidate_count,
            [self.movies.positions(self._seen[user]) for user in users],
        )

    def rank_by_retrieval(self, users: Sequence[int]) -> Ranking:
        """The top movies by embedding score alone."""
        candidates, _ = self.retrieve(users)
        return self._ranking(users, candidates)

    def rank_by_popularity(self, users: Sequence[int]) -> Ranking:
        """The movies most rated in the training part that the user has not seen."""
        order = np.argsort(-self.movies.columns["popularity"], kind="stable")
        answer = []
        for user in users:
            unseen = order[~np.isin(self.movies.keys[order], self._seen[user])]
            answer.append(unseen[: self.application.top])
        return self._ranking(users, np.array(answer))

    def rank(self, users: Sequence[int]) -> Ranking:
        """The top movies by the ranker's probability, ties by key: what the pipeline answers."""
        candidates, scores = self.retrieve(users)
        x = self._assemble(self.users.positions(users), candidates, scores)
        probability = self._session.run(["probability"], {self.application.ranker.tensor: x})[0]
        probability = probability.reshape(candidates.shape)
        order = np.lexsort((self.movies.keys[candidates], -probability), axis=1)
        return self._ranking(users, np.take_along_axis(candidates, order, axis=1))

    def _assemble(
        self, user: NDArray[np.int64], candidates: NDArray[np.int64], scores: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        row_user = np.repeat(user, candidates.shape[1])
        row_movie = candidates.ravel()
        values: dict[str, NDArray[Any]] = {
            "retrieve.score": scores.ravel(),
            "request.hour": np.full(len(row_movie), self.application.default_hour, dtype=np.float32),
        }
        values |= {f"user_taste.{name}": column[row_user] for name, column in self.users.columns.items()}
        values |= {f"movie_profile.{name}": column[row_movie] for name, column in self.movies.columns.items()}
        return self.application.ranker.assemble(values, len(row_movie))

    def _ranking(self, users: Sequence[int], positions: NDArray[np.int64]) -> Ranking:
        top = self.movies.keys[positions[:, : self.application.top]]
        return {user: movies.tolist() for user, movies in zip(users, top, strict=True)}
