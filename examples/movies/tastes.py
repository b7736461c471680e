"""Two users of clearly different taste, for showing that recommendations are personal."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from examples.movies.application import LIKED
from examples.movies.offline import Table, read_table

GENRES = (
    "Action", "Adventure", "Animation", "Children", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "IMAX", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
"""The places of `movie_profile.genres`."""

LEAST_LIKED_COUNT = 40
PRIOR_COUNT = 20.0
"""A user's genre shares are drawn towards everybody's as if by this many liked movies."""


@dataclass(frozen=True, slots=True)
class TasteProfile:
    """A user's key, the two genres they like most beyond the usual, and three titles they rated highest."""

    user_id: int
    genres: tuple[str, ...]
    favourites: tuple[str, ...]

    @property
    def line(self) -> str:
        return f"user {self.user_id} likes {' and '.join(self.genres)}: {', '.join(self.favourites)}"


def two_different_users(directory: Path) -> tuple[TasteProfile, TasteProfile]:
    """The two users whose tastes in genres point apart the most, by their training ratings.

    Only users with at least 40 liked movies are looked at. The same two for the same ratings.
    """
    movies = read_table(directory / "data/movies.parquet", "movie_id")
    titles = pq.read_table(directory / "data/movies.parquet", columns=["title"])["title"].to_pylist()
    users, movie, rating = _liked(directory, movies)
    keys, user = np.unique(users, return_inverse=True)
    leaning = _leaning(user, movies.columns["genres"][movie])
    frequent = np.flatnonzero(np.bincount(user) >= LEAST_LIKED_COUNT)
    apart = leaning[frequent] @ leaning[frequent].T
    first, second = np.unravel_index(np.argmin(apart), apart.shape)
    pair = sorted((int(frequent[first]), int(frequent[second])))
    one, other = (
        _profile(int(keys[row]), leaning[row], movie[user == row], rating[user == row], movies, titles)
        for row in pair
    )
    return one, other


def _liked(
    directory: Path, movies: Table
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """User keys, positions in `movies` and ratings of the liked ones, by user then movie."""
    table = pq.read_table(directory / "data/ratings.parquet").sort_by(
        [("user_id", "ascending"), ("movie_id", "ascending")]
    )
    liked = table["rating"].to_numpy() >= LIKED
    movie = movies.positions(table["movie_id"].to_numpy()[liked])
    return table["user_id"].to_numpy()[liked], movie, table["rating"].to_numpy()[liked]


def _leaning(user: NDArray[np.int64], genres: NDArray[np.float32]) -> NDArray[np.float64]:
    """How far each user's share of liked movies per genre is from everybody's: (users, 19)."""
    usual = genres.mean(axis=0)
    sums = np.zeros((int(user.max()) + 1, genres.shape[1]))
    np.add.at(sums, user, genres)
    count = np.bincount(user)[:, None]
    shares = (sums + PRIOR_COUNT * usual) / (count + PRIOR_COUNT)
    leaning: NDArray[np.float64] = shares - usual
    leaning[:, GENRES.index("IMAX")] = 0.0  # a way of showing, not a taste
    return leaning


def _profile(
    user_id: int,
    leaning: NDArray[np.float64],
    movie: NDArray[np.int64],
    rating: NDArray[np.float32],
    movies: Table,
    titles: list[str | None],
) -> TasteProfile:
    top = np.argsort(-leaning, kind="stable")[:2]
    fit = movies.columns["genres"][movie][:, top].sum(axis=1)
    order = np.lexsort((-movies.columns["popularity"][movie], -rating, -fit))
    known = [title for place in order if (title := titles[movie[place]]) is not None]
    return TasteProfile(user_id, tuple(GENRES[place] for place in top), tuple(known[:3]))
