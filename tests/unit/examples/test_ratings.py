import numpy as np
import pytest

from examples.movies.prepare.ratings import Ratings, hold_out, load_movielens, request_at
from examples.movies.tastes import GENRES


def test_hold_out_takes_the_last_fifth_when_split_by_user(ratings: Ratings) -> None:
    kept, held_out = hold_out(ratings)

    assert set(np.bincount(held_out.user)) == {3}
    assert len(kept) + len(held_out) == len(ratings)
    for user in range(30):
        assert kept.at_s[kept.user == user].max() <= held_out.at_s[held_out.user == user].min()


def test_request_past_is_strictly_earlier_when_seconds_repeat() -> None:
    at_s = np.array([1, 2, 3, 4, 5, 5, 5, 5, 6, 7])
    ratings = Ratings(np.zeros(10, np.int64), np.arange(10), np.full(10, 4.0, np.float32), at_s)

    request = request_at(ratings, 0.6, 0.3, 1)

    assert request.at_s.tolist() == [5]
    assert request.past.at_s.tolist() == [1, 2, 3, 4]
    assert request.future.movie.tolist() == [4, 5, 6, 7, 8]


def test_order_and_age_count_within_the_user_when_users_differ_in_length() -> None:
    user = np.array([0, 0, 0, 2])
    ratings = Ratings(user, user, np.zeros(4, np.float32), user)

    assert ratings.order().tolist() == [0, 1, 2, 0]
    assert ratings.age().tolist() == [2, 1, 0, 0]


@pytest.fixture(scope="module")
def movielens() -> tuple[list[str | None], Ratings, tuple[str, ...]]:
    catalogue, ratings, _ = load_movielens()
    return catalogue.titles, ratings, catalogue.genre_names


def test_movielens_is_whole_and_in_order_when_loaded(
    movielens: tuple[list[str | None], Ratings, tuple[str, ...]],
) -> None:
    titles, ratings, genre_names = movielens

    assert (len(ratings), len(titles), len(np.unique(ratings.user))) == (100_004, 9_066, 671)
    assert genre_names == GENRES
    same_user = np.diff(ratings.user) == 0
    assert (np.diff(ratings.at_s)[same_user] >= 0).all()


def test_titles_read_as_people_say_them_when_the_article_comes_last(
    movielens: tuple[list[str | None], Ratings, tuple[str, ...]],
) -> None:
    titles, _, _ = movielens

    assert "The Lion King" in titles
    assert "The Lives of Others (Das leben der Anderen)" in titles
    assert None in titles
