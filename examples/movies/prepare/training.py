"""The ranker's training set: past requests answered as serving would answer them, and what was watched next.

Each request is a moment of one user. Embeddings are made from the pasts alone, candidates are retrieved with
them, features are as of the moment, and a candidate is positive if the user went on to like it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from examples.movies.application import LIKED, MovieApplication
from examples.movies.prepare.features import Features, MovieHistory, user_features
from examples.movies.prepare.ratings import Catalogue, Ratings, Request, request_at
from examples.movies.prepare.taste import Taste, factorise
from examples.movies.retrieval import nearest

SLICES = ((0.8, 0.2), (0.65, 0.2), (0.5, 0.2))
"""Where in each user's ratings the requests are made, and how far ahead their labels reach."""


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """x (rows, ranker width) float32 in the order of movies.yaml; liked (rows,) bool."""

    x: NDArray[np.float32]
    liked: NDArray[np.bool_]


def training_set(ratings: Ratings, catalogue: Catalogue, application: MovieApplication) -> TrainingSet:
    """The answers to one request per user and slice. Cost: one factorisation per slice."""
    history = MovieHistory(ratings, len(catalogue.movies))
    parts = []
    for past_share, future_share in SLICES:
        request = request_at(ratings, past_share, future_share, len(catalogue.users))
        parts.append(_answer(request, history, catalogue, application))
    return TrainingSet(
        np.concatenate([part.x for part in parts]), np.concatenate([part.liked for part in parts])
    )


def seen_by_user(past: Ratings, user_count: int) -> list[NDArray[np.int64]]:
    """Each user's rated movies, as positions in the catalogue."""
    return np.split(past.movie, np.cumsum(past.counts(user_count))[:-1])


def _answer(
    request: Request, history: MovieHistory, catalogue: Catalogue, application: MovieApplication
) -> TrainingSet:
    taste = factorise(request.past, catalogue)
    asking = np.unique(request.past.user)  # (requests,)
    seen = seen_by_user(request.past, len(catalogue.users))
    movies, scores = nearest(
        taste.users["embedding"][asking],
        taste.movies,
        application.candidate_count,
        [seen[user] for user in asking],
    )
    user, movie, score = np.repeat(asking, movies.shape[1]), movies.ravel(), scores.ravel()  # (rows,)
    # A movie that nobody had rated by then was not in the catalogue, and its popularity of 0 would tell so.
    known = history.as_of(movie, request.at_s[user])["popularity"] > 0
    user, movie, score = user[known], movie[known], score[known]
    at_s = request.at_s[user]
    values = ranker_values(
        score,
        ((at_s // 3600) % 24).astype(np.float32),
        {**user_features(request.past, catalogue), **taste.users},
        movie_features(history.as_of(movie, at_s), taste, catalogue, movie),
        user,
    )
    x = application.ranker.assemble(values, len(movie))
    return TrainingSet(x, _liked_next(request, catalogue, user, movie))


def movie_features(as_of: Features, taste: Taste, catalogue: Catalogue, movie: NDArray[np.int64]) -> Features:
    """Every feature of the movies at these positions: as-of statistics, metadata and vectors."""
    return {
        **as_of,
        "year": catalogue.years[movie],
        "genres": catalogue.genres[movie],
        "embedding": taste.movies[movie],
    }


def ranker_values(
    score: NDArray[np.float32],
    hour: NDArray[np.float32],
    users: Features,
    movies: Features,
    user: NDArray[np.int64],
) -> Features:
    """Rows for the ranker by the names of movies.yaml; `user` says which row of `users` each belongs to."""
    values = {"retrieve.score": score, "request.hour": hour}
    values |= {f"user_taste.{name}": column[user] for name, column in users.items()}
    values |= {f"movie_profile.{name}": column for name, column in movies.items()}
    return values


def _liked_next(
    request: Request, catalogue: Catalogue, user: NDArray[np.int64], movie: NDArray[np.int64]
) -> NDArray[np.bool_]:
    future = request.future.where(request.future.rating >= LIKED)
    width = len(catalogue.movies)
    return np.isin(user * width + movie, future.user * width + future.movie)
