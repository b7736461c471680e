"""The features of users and movies as of a moment: one definition, for the tables served and for training.

Nothing here sees a rating made at or after the moment asked for.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.movies.application import LIKED
from examples.movies.prepare.ratings import Catalogue, Ratings

RECENT_COUNT = 20
PRIOR_COUNT = 5.0
"""A movie's mean is drawn towards the mean of all ratings as if by this many of them."""
PRIOR_MEAN = 3.5
END_S = 1 << 39
"""Later than every rating."""

Features = dict[str, NDArray[Any]]


class MovieHistory:
    """Answers what was known of a movie at a moment. Cost: two binary searches per question, vectorised."""

    def __init__(self, ratings: Ratings, movie_count: int) -> None:
        by_movie = np.lexsort((ratings.at_s, ratings.movie))
        movie = ratings.movie[by_movie]
        self._moments = (movie << 40) + ratings.at_s[by_movie]  # sorted, one per rating
        self._first = np.searchsorted(movie, np.arange(movie_count))
        self._sums = _running_sum(ratings.rating[by_movie])
        by_time = np.argsort(ratings.at_s, kind="stable")
        self._all_moments = ratings.at_s[by_time]
        self._all_sums = _running_sum(ratings.rating[by_time])

    def as_of(self, movie: NDArray[np.int64], at_s: NDArray[np.int64]) -> Features:
        """Mean rating and popularity of each movie by the ratings made before its moment.

        Shapes: both (n,), as is each feature.
        """
        first = self._first[movie]
        end = np.searchsorted(self._moments, (movie << 40) + at_s)
        count = end - first
        total = np.searchsorted(self._all_moments, at_s)
        overall = (self._all_sums[total] + PRIOR_COUNT * PRIOR_MEAN) / (total + PRIOR_COUNT)
        mean = (self._sums[end] - self._sums[first] + PRIOR_COUNT * overall) / (count + PRIOR_COUNT)
        popularity = 10_000.0 * count / (total + 1_000.0)  # a share, so that it does not grow with the years
        return {"mean_rating": mean.astype(np.float32), "popularity": popularity.astype(np.float32)}


def user_features(past: Ratings, catalogue: Catalogue) -> Features:
    """Each user's features by their past ratings; NaN for a user without any.

    Shapes: (users,), or (users, 19) for the genre tastes.
    """
    count = len(catalogue.users)
    recent = past.where(past.age() < RECENT_COUNT)
    return {
        "mean_rating": _mean_by_user(past.user, past.rating, count),
        "rating_count": past.counts(count).astype(np.int32),
        "newest_year": _newest_year(past, catalogue),
        "mean_year": _mean_by_user(past.user, catalogue.years[past.movie], count),
        "recent_year": _mean_by_user(recent.user, catalogue.years[recent.movie], count),
        "genre_taste": _genre_taste(past, catalogue, other_weight=0.0),
        "recent_genre_taste": _genre_taste(recent, catalogue, other_weight=0.5),
    }


def _running_sum(values: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])


def _mean_by_user(user: NDArray[np.int64], values: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    known = ~np.isnan(values)
    sums = np.bincount(user[known], values[known], count)
    counts = np.bincount(user[known], minlength=count)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).astype(np.float32)


def _newest_year(past: Ratings, catalogue: Catalogue) -> NDArray[np.float32]:
    newest = np.full(len(catalogue.users), -np.inf, dtype=np.float32)
    np.fmax.at(newest, past.user, catalogue.years[past.movie])
    return np.where(np.isneginf(newest), np.nan, newest).astype(np.float32)


def _genre_taste(past: Ratings, catalogue: Catalogue, other_weight: float) -> NDArray[np.float32]:
    """The share of each genre in a user's movies; one that was not liked weighs `other_weight`."""
    count = len(catalogue.users)
    weight = np.where(past.rating >= LIKED, 1.0, other_weight)
    sums = np.zeros((count, catalogue.genres.shape[1]))
    np.add.at(sums, past.user, catalogue.genres[past.movie] * weight[:, None])
    weights = np.bincount(past.user, weight, count)
    share = sums / np.maximum(weights, 1e-9)[:, None]
    share[past.counts(count) == 0] = np.nan
    return share.astype(np.float32)
