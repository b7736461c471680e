"""Every rule of the application file, each broken once in a file that is otherwise right."""

from __future__ import annotations

import pytest

from registry.application_file import parse_application
from tests.support.application_texts import FILES, MOVIES, changed, problems

PIPELINE = "pipelines.movies_for_user"
TWO_RETRIEVES = (
    "retrieve: [{index: movies, query: user_taste.embedding, k: 1}, "
    "{index: others, query: user_taste.embedding, k: 2}]"
)

DATA_RULES = {
    "least number of rows above the greatest": (
        "{source: taste,",
        "{source: taste, checks: {rows: {min: 5, max: 4}},",
        "views.user_taste.batch.checks.rows.min",
        "is above max, which is 4",
    ),
    "no rows allowed": (
        "{source: taste,",
        "{source: taste, checks: {rows: {min: 0}},",
        "views.user_taste.batch.checks.rows.min",
        "must be at least 1",
    ),
    "unknown check": (
        "{source: taste,",
        "{source: taste, checks: {keyz: {}},",
        "views.user_taste.batch.checks.keyz",
        "did you mean 'keys'",
    ),
    "nulls of an unknown feature": (
        "{source: taste,",
        "{source: taste, checks: {nulls: {sen: 0.1}},",
        "views.user_taste.batch.checks.nulls.sen",
        "no feature 'sen'",
    ),
    "nulls above all": (
        "{source: taste,",
        "{source: taste, checks: {nulls: {seen: 2}},",
        "views.user_taste.batch.checks.nulls.seen",
        "must be at most 1",
    ),
    "range without an end": (
        "{source: taste,",
        "{source: taste, checks: {ranges: {mean_rating: {}}},",
        "views.user_taste.batch.checks.ranges.mean_rating",
        "needs one of min, max",
    ),
    "range of one number": (
        "{source: taste,",
        "{source: taste, checks: {ranges: {mean_rating: [1]}},",
        "views.user_taste.batch.checks.ranges.mean_rating",
        "two numbers",
    ),
    "range upside down": (
        "{source: taste,",
        "{source: taste, checks: {ranges: {mean_rating: [5, 0]}},",
        "views.user_taste.batch.checks.ranges.mean_rating",
        "least value is above",
    ),
    "range of an unknown feature": (
        "{source: taste,",
        "{source: taste, checks: {ranges: {nothing: [0, 1]}},",
        "views.user_taste.batch.checks.ranges.nothing",
        "no feature 'nothing'",
    ),
    "change of rows that replace none": (
        "{source: taste, publish: swap}",
        "{source: taste, publish: upsert, checks: {rows: {max_change: 0.5}}}",
        "views.user_taste.batch.checks.rows.max_change",
        "rows that are upserted replace none",
    ),
    "range of text": (
        'from movies", publish: swap}',
        'from movies", checks: {ranges: {title: [0, 1]}}}',
        "views.movie_profile.batch.checks.ranges.title",
        "only numbers have a range, not string",
    ),
    "key of a float": ("user_id: int64}", "user_id: float32}", "entities.user.key.user_id", "not float32"),
    "key of a list": ("user_id: int64}", "user_id: 'int64[2]'}", "entities.user.key.user_id", "not int64[2]"),
    "key of a bool": ("user_id: int64}", "user_id: bool}", "entities.user.key.user_id", "not bool"),
    "key without fields": ("{key: {user_id: int64}}", "{key: {}}", "entities.user.key", "must not be empty"),
    "key that is reserved": (
        "{key: {user_id: int64}}",
        "{key: {event_time: int64}}",
        "entities.user.key.event_time",
        "reserved",
    ),
    "source of two kinds": (
        "{parquet: data/movies.parquet}",
        "{parquet: a, csv: b}",
        "sources.movies",
        "has parquet and csv",
    ),
    "source of no kind": ("{parquet: data/movies.parquet}", "{}", "sources.movies", "needs one of"),
    "text that is a number": (
        "{parquet: data/movies.parquet}",
        "{parquet: 3}",
        "sources.movies.parquet",
        "must be text, not 3",
    ),
    "unknown entity": (
        "entity: movie\n",
        "entity: move\n",
        "views.movie_profile.entity",
        "did you mean 'movie'",
    ),
    "unknown source": (
        "{source: taste,",
        "{source: tast,",
        "views.user_taste.batch.source",
        "did you mean 'taste'",
    ),
    "batch without a source": (
        "{source: taste, publish",
        "{publish",
        "views.user_taste.batch",
        "needs one of",
    ),
    "unknown publish": (
        "publish: swap}\n",
        "publish: replace}\n",
        "views.user_taste.batch.publish",
        "must be 'swap'",
    ),
    "feature with a dot": (
        "      title:",
        "      ti.tle:",
        "views.movie_profile.features.ti.tle",
        "is not a name",
    ),
    "feature that is a key": (
        "      title:",
        "      movie_id:",
        "views.movie_profile.features.movie_id",
        "is a key field of entity 'movie'",
    ),
    "feature that is reserved": (
        "      title:",
        "      event_time:",
        "views.movie_profile.features.event_time",
        "reserved",
    ),
    "list of strings": (
        "title: string",
        "title: 'string[3]'",
        "views.movie_profile.features.title",
        "no lists",
    ),
    "list that is too long": (
        "float32[19]",
        "float32[99999]",
        "views.movie_profile.features.genres",
        "elements",
    ),
    "unknown dtype": (
        "title: string",
        "title: text",
        "views.movie_profile.features.title",
        "unknown dtype 'text'",
    ),
    "default of text": (
        "default: 3.5}\n      genres",
        "default: x}\n      genres",
        "views.movie_profile.features.mean_rating.default",
        "must be a number, not 'x'",
    ),
    "default of NaN": (
        "default: 3.5}\n      genres",
        "default: .nan}\n      genres",
        "views.movie_profile.features.mean_rating.default",
        "finite",
    ),
    "default of another length": (
        "genres: float32[19]",
        "genres: {dtype: 'float32[3]', default: [1, 2]}",
        "views.movie_profile.features.genres.default",
        "must have 3 elements, not 2",
    ),
    "default out of range": (
        "title: string",
        "title: {dtype: int32, default: 3000000000}",
        "views.movie_profile.features.title.default",
        "out of the range",
    ),
    "space of a scalar": (
        "title: string",
        "title: {dtype: float32, space: taste}",
        "views.movie_profile.features.title.space",
        "only a fixed list of floats",
    ),
    "space of two dtypes": (
        "title: string",
        "title: {dtype: 'float32[8]', space: taste}",
        "views.movie_profile.features.title.dtype",
        "space 'taste' holds float32[32]",
    ),
    "view without features": (
        "features: {mean_rating: {dtype: float32, default: 3.5}, embedding",
        "features: {}\n    max_age: 1d\n    near_cache: {embedding",
        "views.user_taste",
        "needs at least one feature",
    ),
    "duration without a unit": (
        "max_age: 30d\n    near",
        "max_age: 30\n    near",
        "views.movie_profile.max_age",
        "30",
    ),
    "duration of nothing": (
        "near_cache: 30s",
        "near_cache: 0s",
        "views.movie_profile.near_cache",
        "more than 0",
    ),
    "duration of another unit": (
        "near_cache: 30s",
        "near_cache: 30w",
        "views.movie_profile.near_cache",
        "'30w'",
    ),
    "windows without a stream": (
        "    near_cache: 30s\n",
        "    windows: {n: {count: year, over: 1d, tile: 1h}}\n",
        "views.movie_profile.windows",
        "needs a stream",
    ),
    "metric that isn't one": (
        "metric: inner_product",
        "metric: dot",
        "indexes.movies.metric",
        "'inner_product'",
    ),
    "vector that isn't one": (
        "vector: movie_profile.embedding",
        "vector: movie_profile.title",
        "indexes.movies.vector",
        "must be a fixed list of floats; movie_profile.title is string",
    ),
    "vector of no view": (
        "vector: movie_profile.embedding",
        "vector: embedding",
        "indexes.movies.vector",
        "not of the form view.feature",
    ),
    "vector of another entity": (
        "{entity: movie, vector",
        "{entity: user, vector",
        "indexes.movies.vector",
        "is of entity 'movie', but the index is of 'user'",
    ),
    "index of a composite key": (
        "{key: {movie_id: int64}}",
        "{key: {movie_id: int64, region: string}}",
        "indexes.movies.entity",
        "one key field",
    ),
    "recall above one": (
        "recall_at_10: 0.95",
        "recall_at_10: 95",
        "indexes.movies.publish_if.recall_at_10",
        "at most 1",
    ),
    "unknown bar": ("recall_at_10: 0.95", "recall: 0.95", "indexes.movies.publish_if.recall", "unknown key"),
    "string for a model": (
        "movie_profile.year,",
        "movie_profile.title,",
        "models.ranker.inputs.x.1",
        "is a string; a model takes numbers",
    ),
    "variable list for a model": (
        "[user_taste.mean_rating,",
        "[user_taste.seen,",
        "models.ranker.inputs.x.0",
        "variable length",
    ),
    "float for an integer input": (
        "inputs: {x:",
        "inputs: {y: {dtype: int64, columns: [movie_profile.year]}, x:",
        "models.ranker.inputs.y.columns.0",
        "can't hold",
    ),
    "retrieval score for an integer input": (
        "inputs: {x:",
        "inputs: {y: {dtype: int64, columns: [retrieve.score]}, x:",
        "models.ranker.inputs.y.columns.0",
        "retrieve.score is a float, which an input of int64 can't hold",
    ),
    "unknown retrieve column": (
        "retrieve.score]",
        "retrieve.rank]",
        "models.ranker.inputs.x.4",
        "retrieve gives 'score'",
    ),
    "traffic of a canary": (
        "{champion: 1}",
        "{champion: 1, canary: 2}",
        "models.ranker.traffic.canary",
        "only champion",
    ),
    "version of nothing": ("{champion: 1}", "{champion: 0}", "models.ranker.traffic.champion", "at least 1"),
}

PIPELINE_RULES = {
    "unknown entity": (
        "entities: [user]",
        "entities: [users]",
        f"{PIPELINE}.entities.0",
        "did you mean 'user'",
    ),
    "entity named twice": (
        "entities: [user]",
        "entities: [user, user]",
        f"{PIPELINE}.entities.1",
        "named twice",
    ),
    "no entity": ("entities: [user]", "entities: []", f"{PIPELINE}.entities", "must not be empty"),
    "request feature that is a key": (
        "request: {hour:",
        "request: {user_id: int64, hour:",
        f"{PIPELINE}.request.user_id",
        "is also a key field",
    ),
    "request default of text": (
        "default: 12}",
        "default: noon}",
        f"{PIPELINE}.request.hour.default",
        "must be a number",
    ),
    "view of another entity": (
        "hydrate: [user_taste]",
        "hydrate: [user_taste, movie_profile]",
        f"{PIPELINE}.hydrate.1",
        "is of entity 'movie'; the pipeline's are user",
    ),
    "view in both stages": (
        "hydrate_candidates: [{view: movie_profile, required: true}]",
        "hydrate_candidates: [{view: movie_profile, required: true}, user_taste]",
        f"{PIPELINE}.hydrate_candidates.1",
        "already in hydrate",
    ),
    "view named twice": (
        "hydrate: [user_taste]",
        "hydrate: [user_taste, user_taste]",
        f"{PIPELINE}.hydrate.1",
        "named twice",
    ),
    "required for a request view": (
        "hydrate: [user_taste]",
        "hydrate: [{view: user_taste, required: true}]",
        f"{PIPELINE}.hydrate.0.required",
        "only candidates can be dropped",
    ),
    "unknown index": (
        "index: movies,",
        "index: movie,",
        f"{PIPELINE}.retrieve.index",
        "did you mean 'movies'",
    ),
    "query of another view": (
        "query: user_taste.embedding",
        "query: movie_profile.embedding",
        f"{PIPELINE}.retrieve.query",
        "view 'movie_profile' is not in hydrate",
    ),
    "query of another kind": (
        "query: user_taste.embedding",
        "query: user_taste.mean_rating",
        f"{PIPELINE}.retrieve.query",
        "is float32; index 'movies' holds float32[32] (movie_profile.embedding)",
    ),
    "query of another space": (
        'embedding: {dtype: "float32[32]", space: taste}, seen',
        'embedding: {dtype: "float32[32]", space: tastes}, seen',
        f"{PIPELINE}.retrieve.query",
        "lies in space tastes, the vectors of index 'movies' in taste",
    ),
    "exclude of another type": (
        'seen: "int64[]"',
        'seen: "float32[]"',
        f"{PIPELINE}.retrieve.exclude",
        "keys of 'movie_id' are int64",
    ),
    "k of nothing": ("k: 100", "k: 0", f"{PIPELINE}.retrieve.k", "at least 1"),
    "k of text": ("k: 100", "k: many", f"{PIPELINE}.retrieve.k", "must be a whole number, not 'many'"),
    "k of a bool": ("k: 100", "k: true", f"{PIPELINE}.retrieve.k", "must be a whole number, not true"),
    "candidates from two places": (
        "predict: ranker",
        "predict: ranker\n    candidates: request",
        f"{PIPELINE}.candidates",
        "not from both",
    ),
    "model column that isn't hydrated": (
        "hydrate_candidates: [{view: movie_profile, required: true}]\n",
        "\n",
        f"{PIPELINE}.predict",
        "reads movie_profile.year, but view 'movie_profile' is not hydrated",
    ),
    "request feature that isn't declared": (
        "request.hour, ",
        "request.hour, request.device, ",
        f"{PIPELINE}.predict",
        "the request has no feature 'device'",
    ),
    "request feature of text for a model": (
        "{hour: {dtype: float32, default: 12}}",
        "{hour: string}",
        f"{PIPELINE}.predict",
        "request.hour is a string",
    ),
    "top of nothing": ("top: 10,", "top: 0,", f"{PIPELINE}.select.top", "at least 1"),
    "top of a million": ("top: 10,", "top: 1000000,", f"{PIPELINE}.select.top", "at most 10000"),
    "order by an unknown score": ("by: score", "by: scor", f"{PIPELINE}.select.by", "did you mean 'score'"),
    "order by text": (
        "by: score",
        "by: movie_profile.title",
        f"{PIPELINE}.select.by",
        "only a number orders rows",
    ),
    "several scores and no order": (
        "select: {top: 10, by: score}",
        "select: {top: 10}",
        f"{PIPELINE}.select",
        "name one of score, other",
    ),
    "order by the score of no search": (
        "retrieve: {index: movies, query: user_taste.embedding, k: 100, exclude: user_taste.seen}",
        "candidates: request",
        f"{PIPELINE}.select.by",
        "the pipeline retrieves nothing",
    ),
    "order by an input": (
        "by: score}",
        "by: request.hour}",
        f"{PIPELINE}.select.by",
        "request.hour is no feature of a view",
    ),
    "order by what isn't a column": (
        "by: score}",
        "by: movie_profile.year.x}",
        f"{PIPELINE}.select.by",
        "unknown score 'movie_profile.year.x'",
    ),
    "filter by the score of a search": (
        "by: score}",
        "by: score, where: {retrieve.score: {gte: 1990}}}",
        f"{PIPELINE}.select.where.retrieve.score",
        "retrieve.score is no feature of a view",
    ),
    "filter of a view that isn't read": (
        "by: score}",
        "by: score, where: {movie_trend.mean: {gte: 1990}}}",
        f"{PIPELINE}.select.where.movie_trend.mean",
        "unknown view 'movie_trend'",
    ),
    "filter of another application's view": (
        "by: score}",
        "by: score, where: {people/user_home.year: {gte: 1990}}}",
        f"{PIPELINE}.select.where.people/user_home.year",
        "is not hydrated by this pipeline",
    ),
    "filter of a list": (
        "by: score}",
        "by: score, where: {movie_profile.genres: {gte: 1990}}}",
        f"{PIPELINE}.select.where.movie_profile.genres",
        "a condition needs a single value",
    ),
    "filter that says nothing": (
        "by: score}",
        "by: score, where: {movie_profile.year: {}}}",
        f"{PIPELINE}.select.where.movie_profile.year",
        "give one of eq, ne, gt, gte, lt, lte, in",
    ),
    "filter by an unknown comparison": (
        "by: score}",
        "by: score, where: {movie_profile.year: {above: 1990}}}",
        f"{PIPELINE}.select.where.movie_profile.year.above",
        "unknown key",
    ),
    "filter by members of another type": (
        "by: score}",
        "by: score, where: {movie_profile.title: {in: [a, 3]}}}",
        f"{PIPELINE}.select.where.movie_profile.title.in",
        "must be a string, not 3",
    ),
    "filter of another type": (
        "by: score}",
        "by: score, where: {movie_profile.year: {gte: old}}}",
        f"{PIPELINE}.select.where.movie_profile.year.gte",
        "must be a number",
    ),
    "budget that is overspent": (
        "total: 25ms",
        "total: 20ms",
        f"{PIPELINE}.budget.total",
        "may take 23ms in all",
    ),
    "budget of an unknown step": (
        "predict: 10ms}",
        "model: 10ms}",
        f"{PIPELINE}.budget.model",
        "unknown key",
    ),
    "rule of a view that isn't read": (
        "hydrate: {user_taste: stale}",
        "hydrate: {movie_profile: stale}",
        f"{PIPELINE}.degrade.hydrate.movie_profile",
        "is not in hydrate",
    ),
    "unknown rule": (
        "hydrate: {user_taste: stale}",
        "hydrate: {user_taste: ignore}",
        f"{PIPELINE}.degrade.hydrate.user_taste",
        "'defaults', 'stale' or 'fail'",
    ),
    "unknown fallback": ("[precomputed,", "[recomputed,", f"{PIPELINE}.degrade.predict.0", "'precomputed'"),
    "fallback after fail": ("[precomputed,", "[fail,", f"{PIPELINE}.degrade.predict.0", "nothing is tried"),
    "fallback score of text": (
        "{feature: movie_profile.mean_rating}",
        "{feature: movie_profile.title}",
        f"{PIPELINE}.degrade.predict.2.feature",
        "only a number",
    ),
    "cache without fresh": (
        "cache: {fresh: 5s, stale",
        "cache: {stale",
        f"{PIPELINE}.cache.fresh",
        "is required",
    ),
    "cache key that isn't an input": (
        "stale: 60s}",
        "stale: 60s, key: [user, {hour: {bin: 6}}]}",
        f"{PIPELINE}.cache.key.0",
        "did you mean 'user_id'",
    ),
    "cache key of another form": (
        "stale: 60s}",
        "stale: 60s, key: [{hour: 6}]}",
        f"{PIPELINE}.cache.key.0",
        "{name: {bin: width}}",
    ),
    "unknown precomputed": ("precomputed: fallback", "precomputed: on", f"{PIPELINE}.precomputed", "'first'"),
    "view of another application": (
        "hydrate: [user_taste]",
        "hydrate: [user_taste, people/user_home]",
        f"{PIPELINE}.hydrate.1",
        "views of another application are not supported",
    ),
}


@pytest.mark.parametrize("name", DATA_RULES)
def test_mistake_is_named_when_a_rule_of_data_is_broken(name: str) -> None:
    check(*DATA_RULES[name])


@pytest.mark.parametrize("name", PIPELINE_RULES)
def test_mistake_is_named_when_a_rule_of_a_pipeline_is_broken(name: str) -> None:
    text = MOVIES
    if name == "several scores and no order":
        text = changed("{score: probability}", "{score: probability, other: 'p[1]'}")
    if name == "order by the score of no search":
        text = changed("by: score}", "by: retrieve.score}")
    check(*PIPELINE_RULES[name], text=text)


@pytest.mark.parametrize("name", ["request", "retrieve"])
def test_view_is_refused_when_its_name_is_reserved(name: str) -> None:
    text = changed("views:\n", f"views:\n  {name}: {{entity: user, features: {{a: int32}}}}\n")

    [problem] = problems(text)

    assert (problem.path, problem.line) == (f"views.{name}", 10)
    assert "is reserved" in problem.message


def test_pipeline_is_refused_when_its_entities_share_a_field_of_two_types() -> None:
    text = changed("entities:\n", "entities:\n  guest: {key: {user_id: string}}\n")
    text = changed("entities: [user]", "entities: [user, guest]", text)

    [problem] = problems(text)

    assert problem.path == f"{PIPELINE}.entities.1"
    assert "'user_id' is string in 'guest' but int64 in 'user'" in problem.message


def test_pipeline_is_right_when_its_entities_share_a_field_of_one_type() -> None:
    text = changed("entities:\n", "entities:\n  visit: {key: {user_id: int64, visit_id: string}}\n")

    assert problems(changed("entities: [user]", "entities: [user, visit]", text)) == []


def two_retrieves(indexes: str) -> str:
    """Return the application with a second index, and a pipeline that searches both."""
    text = changed("indexes:\n", f"indexes:\n  {indexes}\n")
    return changed(
        "retrieve: {index: movies, query: user_taste.embedding, k: 100, exclude: user_taste.seen}",
        TWO_RETRIEVES,
        text,
    )


def test_entity_is_asked_for_when_the_request_gives_its_key_already() -> None:
    text = changed("entities:\n", "entities:\n  guest: {key: {user_id: int64}}\n")
    text = changed("views:\n", "views:\n  stays: {entity: guest, features: {nights: float32}}\n", text)
    text = changed("hydrate: [user_taste]", "hydrate: [user_taste, stays]", text)

    [problem] = problems(text)

    assert problem.path == f"{PIPELINE}.hydrate.1"
    assert problem.message == (
        "view 'stays' is of entity 'guest', whose key the request gives: add it to entities"
    )
    assert problems(changed("entities: [user]", "entities: [user, guest]", text)) == []


def test_indexes_of_a_pipeline_are_of_one_entity() -> None:
    right = "others: {entity: movie, vector: movie_profile.embedding, metric: inner_product}"
    wrong = "others: {entity: user, vector: user_taste.embedding, metric: inner_product}"

    assert problems(two_retrieves(right)) == []
    text = two_retrieves(wrong)
    [problem] = problems(text)

    assert problem.path == f"{PIPELINE}.retrieve.1.index"
    assert problem.message == (
        "index 'others' is of entity 'user', 'movies' of 'movie': what a pipeline retrieves is of one entity"
    )
    assert "index: others" in text.splitlines()[problem.line - 1]


def test_searches_of_a_pipeline_find_no_more_together_than_one_may() -> None:
    index = "others: {entity: movie, vector: movie_profile.embedding, metric: inner_product}"
    text = changed("k: 2}]", "k: 9999}]", two_retrieves(index))
    assert problems(text) == []
    text = changed("k: 1}", "k: 2}", text)
    [problem] = problems(text)

    assert problem.path == f"{PIPELINE}.retrieve"
    assert problem.message == "finds up to 10001 candidates; all searches together find at most 10000"
    assert "retrieve:" in text.splitlines()[problem.line - 1]


def test_scores_of_two_metrics_are_warned_of_where_they_are_used() -> None:
    text = two_retrieves("others: {entity: movie, vector: movie_profile.embedding, metric: l2}")

    _, warnings = parse_application(text.encode())
    messages = [warning.message for warning in warnings if warning.path == f"{PIPELINE}.retrieve"]

    assert messages == ["retrieve.score is the best of scores by inner_product and l2, which don't compare"]


ONE_ROW = """
  risk:
    entities: [user]
    request: {{hour: float32}}
    hydrate: [user_taste]
    predict: rater
    cache: {{fresh: 5s, key: [{key}]}}
"""


@pytest.mark.parametrize(
    ("key", "is_right"),
    [
        ("user_id", True),
        ("user_id, {hour: {bin: 6}}", True),
        ("hour", False),
        ("{user_id: {bin: 10}}", False),
    ],
)
def test_key_of_a_cache_names_whose_answer_it_is_where_one_row_is_scored(key: str, is_right: bool) -> None:
    model = "  rater: {repository: models, inputs: {x: [user_taste.mean_rating]}, outputs: {score: y}}\n"
    text = changed("models:\n", f"models:\n{model}").rstrip("\n") + ONE_ROW.format(key=key)

    found = problems(text)

    assert [problem.path for problem in found] == ([] if is_right else ["pipelines.risk.cache.key"])
    assert is_right or "'user_id' must be in it, and without a bin" in found[0].message


def check(old: str, new: str, path: str, message: str, text: str = MOVIES) -> None:
    """Assert that the change makes a mistake at `path`, that says `message`, on a line that was changed."""
    after = changed(old, new, text)
    found = [problem for problem in problems(after) if problem.path == path]
    assert found, [str(problem) for problem in problems(after)]
    assert message in found[0].message
    assert 1 <= found[0].line <= after.count("\n") + 1


STREAM_RULES = {
    "unknown event time": (
        "event_time: rated_at\n    part",
        "event_time: at\n    part",
        "streams.ratings.event_time",
    ),
    "event time of another type": ("rated_at: timestamp", "rated_at: int64", "streams.ratings.event_time"),
    "unknown partition": ("partition_by: user_id", "partition_by: user", "streams.ratings.partition_by"),
    "unknown history": ("history: ratings", "history: rating", "streams.ratings.history"),
    "unknown stream": ("stream: ratings\n", "stream: rating\n", "views.movie_trend.stream"),
    "unknown field": ("{count: rating,", "{count: stars,", "views.movie_trend.windows.ratings_7d.count"),
    "window of half a tile": ("rating, over: 7d, tile: 6h}", "rating, over: 7d, tile: 5h}", "over"),
    "window of many tiles": ("rating, over: 7d, tile: 6h}", "rating, over: 7d, tile: 1h}", "tile"),
    "window of as many tiles as a ring": (
        "rating, over: 7d, tile: 6h}",
        "rating, over: 64h, tile: 1h}",
        "ratings_7d.tile",
    ),
    "windows of tiles that don't go together": (
        "rating, over: 7d, tile: 6h}",
        "rating, over: 30m, tile: 1m}",
        "mean_rating_7d.tile",
    ),
    "sum of a timestamp": ("{count: rating,", "{sum: rated_at,", "ratings_7d.sum"),
    "default of another type": ("default: 3.5}", "default: much}", "mean_rating_7d.default"),
    "feature of a stream": (
        "    windows:\n",
        "    features: {year: float32}\n    windows:\n",
        "views.movie_trend.features.year",
    ),
    "window of two aggregates": ("{count: rating,", "{count: rating, sum: rating,", "ratings_7d"),
    "name that is no part of a key": ("{stream: ratings, p", "{stream: 'a}b', p", "ratings.redis.stream"),
    "list in an event": ("rating: float32, rated", "rating: 'float32[2]', rated", "ratings.fields.rating"),
    "kafka and redis": (
        "    history: ratings",
        "    kafka: {servers: a, topic: b}\n    history: ratings",
        "streams.ratings",
    ),
}


@pytest.mark.parametrize("name", STREAM_RULES)
def test_mistake_is_named_when_a_rule_of_streams_is_broken(name: str) -> None:
    old, new, path = STREAM_RULES[name]
    found = problems(changed(old, new, (FILES / "contract.yaml").read_text()))
    assert any(problem.path.endswith(path) and "not supported" not in problem.message for problem in found), [
        str(problem) for problem in found
    ]


def test_warning_is_given_when_kept_rows_of_windows_are_stale_at_once() -> None:
    text = changed(
        "    entity: movie\n    stream: ratings\n",
        "    entity: movie\n    stream: ratings\n    max_age: 30s\n    near_cache: 30s\n",
        (FILES / "contract.yaml").read_text(),
    )
    _, warnings = parse_application(text.encode())
    [warning] = [one for one in warnings if one.path.endswith("near_cache")]
    assert warning.path == "views.movie_trend.near_cache"
    assert "STALE" in warning.message


def test_warning_is_given_when_a_view_over_a_stream_is_required() -> None:
    text = changed(
        "{view: movie_profile, required: true}, movie_trend]",
        "movie_profile, {view: movie_trend, required: true}]",
        (FILES / "contract.yaml").read_text(),
    )
    _, warnings = parse_application(text.encode())
    [warning] = [one for one in warnings if one.path.endswith("required")]
    assert "every entity has its windows" in warning.message
