"""A small catalogue and ratings with two clear tastes, made here."""

import numpy as np
import pytest

from examples.movies.prepare.ratings import Catalogue, Ratings

USERS, MOVIES = 30, 40


@pytest.fixture
def catalogue() -> Catalogue:
    """Thirty users and forty movies; the first half of the movies is of genre 0, the rest of genre 1."""
    genres = np.zeros((MOVIES, 19), dtype=np.float32)
    genres[: MOVIES // 2, 0] = 1.0
    genres[MOVIES // 2 :, 1] = 1.0
    years = np.linspace(1980, 2015, MOVIES).astype(np.float32)
    years[3] = np.nan
    return Catalogue(
        users=np.arange(USERS) * 10,
        movies=np.arange(MOVIES) * 100,
        titles=[f"Movie {movie}" for movie in range(MOVIES)],
        years=years,
        genres=genres,
        genre_names=tuple(f"genre {genre}" for genre in range(19)),
    )


@pytest.fixture
def ratings() -> Ratings:
    """Each user rates fifteen movies of one half: even users the first, odd users the second."""
    random = np.random.default_rng(7)
    user = np.repeat(np.arange(USERS), 15)
    movie = np.concatenate(
        [random.permutation(MOVIES // 2)[:15] + (user % 2) * (MOVIES // 2) for user in range(USERS)]
    )
    at_s = np.sort(random.integers(1_000, 9_000, (USERS, 15)), axis=1).ravel()
    rating = (random.integers(1, 11, len(user)) / 2).astype(np.float32)
    return Ratings(user, movie, rating, at_s)
