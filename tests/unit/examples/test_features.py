import numpy as np

from examples.movies.prepare.features import END_S, MovieHistory, user_features
from examples.movies.prepare.ratings import Catalogue, Ratings


def test_movie_history_equals_a_plain_count_when_asked_at_many_moments(ratings: Ratings) -> None:
    random = np.random.default_rng(1)
    movie = random.integers(0, 40, 200)
    at_s = np.concatenate([random.integers(0, 10_000, 150), random.choice(ratings.at_s, 50)])

    answer = MovieHistory(ratings, 40).as_of(movie, at_s)

    for place, (one, moment) in enumerate(zip(movie, at_s, strict=True)):
        before = ratings.at_s < moment
        mine = ratings.rating[before & (ratings.movie == one)]
        overall = (ratings.rating[before].sum() + 5 * 3.5) / (before.sum() + 5)
        assert np.isclose(answer["mean_rating"][place], (mine.sum() + 5 * overall) / (len(mine) + 5))
        assert np.isclose(answer["popularity"][place], 10_000 * len(mine) / (before.sum() + 1_000))


def test_movie_history_is_blind_to_later_ratings_when_they_change(ratings: Ratings) -> None:
    moment = int(np.median(ratings.at_s))
    late = ratings.at_s >= moment
    changed = Ratings(
        ratings.user, ratings.movie, np.where(late, 0.5, ratings.rating).astype("f4"), ratings.at_s
    )
    movie, at_s = np.arange(40), np.full(40, moment)

    for name, values in MovieHistory(ratings, 40).as_of(movie, at_s).items():
        assert np.array_equal(values, MovieHistory(changed, 40).as_of(movie, at_s)[name])
        assert not np.array_equal(values, MovieHistory(ratings, 40).as_of(movie, np.full(40, END_S))[name])


def test_user_features_tell_the_taste_when_a_user_sticks_to_a_genre(
    catalogue: Catalogue, ratings: Ratings
) -> None:
    features = user_features(ratings, catalogue)

    assert (features["rating_count"] == 15).all()
    assert (features["genre_taste"][::2, 0] == 1.0).all()
    assert (features["genre_taste"][1::2, 0] == 0.0).all()
    mine = ratings.user == 4
    assert np.isclose(features["mean_rating"][4], ratings.rating[mine].mean())
    assert features["newest_year"][4] == np.nanmax(catalogue.years[ratings.movie[mine]])


def test_user_features_are_missing_when_a_user_has_no_past(catalogue: Catalogue, ratings: Ratings) -> None:
    features = user_features(ratings.where(ratings.user != 4), catalogue)

    assert features["rating_count"][4] == 0
    for name in ("mean_rating", "newest_year", "mean_year", "recent_year", "genre_taste"):
        assert np.isnan(features[name][4]).all()
