import numpy as np
import pytest

from examples.movies.prepare.ratings import Catalogue, Ratings
from examples.movies.prepare.taste import HALF_LIVES, factorise
from examples.movies.retrieval import nearest


def test_users_are_nearer_to_their_half_when_there_are_two_tastes(
    catalogue: Catalogue, ratings: Ratings
) -> None:
    taste = factorise(ratings, catalogue)

    for name in HALF_LIVES:
        scores = taste.users[name] @ taste.movies.T
        first = scores[:, :20].mean(axis=1) - scores[:, 20:].mean(axis=1)
        assert (first[::2] > 0).all()
        assert (first[1::2] < 0).all()


def test_a_movie_has_no_direction_when_nobody_rated_it(catalogue: Catalogue, ratings: Ratings) -> None:
    taste = factorise(ratings.where(ratings.movie != 5), catalogue)

    assert not taste.movies[5].any()
    assert taste.movies[6].any()


def test_nearest_orders_by_score_then_position_when_some_are_excluded() -> None:
    vectors = np.array([[1.0], [3.0], [2.0], [3.0]], dtype=np.float32)
    queries = np.array([[1.0], [-1.0]], dtype=np.float32)

    positions, scores = nearest(queries, vectors, 3, [np.array([], dtype=np.int64), np.array([0])])

    assert positions.tolist() == [[1, 3, 2], [2, 1, 3]]
    assert scores.tolist() == [[3.0, 3.0, 2.0], [-2.0, -3.0, -3.0]]


def test_nearest_refuses_when_too_few_are_left() -> None:
    vectors = np.ones((3, 2), dtype=np.float32)

    with pytest.raises(ValueError, match="fewer than 3"):
        nearest(vectors[:1], vectors, 3, [np.array([1])])
