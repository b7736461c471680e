"""Did users go on to like what was recommended? `python -m examples.movies.evaluate [--gateway HOST:PORT]`.

Ranks with the served pipeline (or offline), on the ratings that prepare/ held out. Next: quality.py.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from rich.console import Console

from examples.movies.application import LIKED
from examples.movies.offline import OfflineRanker, read_seen
from examples.movies.online import GatewayRanker
from examples.movies.quality import QualityReport, measure

Rank = Callable[[list[int]], Mapping[int, Sequence[int]]]
"""User keys -> movie keys per user, best first, at most ten."""


def evaluate(rank: Rank, directory: Path) -> QualityReport:
    """`rank` beside the retrieval's order and popularity, over all users with a liked held-out movie.

    Cost: one call of `rank` with all of those users. Raises: ValueError if `rank` recommends a movie that
    the user has rated already.
    """
    relevant, without_relevant_count = relevant_movies(directory)
    users = list(relevant)
    offline = OfflineRanker(directory)
    rankings = rank(users)
    _refuse_seen(rankings, directory)
    return QualityReport(
        ranker=measure("ranker", rankings, relevant),
        retrieval=measure("retrieval", offline.rank_by_retrieval(users), relevant),
        popularity=measure("popularity", offline.rank_by_popularity(users), relevant),
        user_count=len(users),
        without_relevant_count=without_relevant_count,
        relevant_count=sum(len(movies) for movies in relevant.values()),
    )


def relevant_movies(directory: Path) -> tuple[dict[int, set[int]], int]:
    """The held-out movies each user liked, and how many users liked none of theirs."""
    table = pq.read_table(directory / "data/holdout.parquet", columns=["user_id", "movie_id", "rating"])
    rating = table["rating"].to_numpy()
    user, movie = table["user_id"].to_numpy(), table["movie_id"].to_numpy()
    relevant: dict[int, set[int]] = {}
    for key, liked in zip(user[rating >= LIKED].tolist(), movie[rating >= LIKED].tolist(), strict=True):
        relevant.setdefault(key, set()).add(liked)
    return relevant, len(np.unique(user)) - len(relevant)


def agreement(rank: Rank, directory: Path) -> tuple[int, int, float]:
    """Users compared, users whose list is the offline one to the last place, and the mean share in common."""
    ranker = OfflineRanker(directory)
    users = ranker.users.keys.tolist()
    offline, online = ranker.rank(users), rank(users)
    same = sum(list(online[user]) == offline[user] for user in users)
    common = [len(set(online[user]) & set(offline[user])) / len(offline[user]) for user in users]
    return len(users), same, float(np.mean(common))


def _refuse_seen(rankings: Mapping[int, Sequence[int]], directory: Path) -> None:
    seen = read_seen(directory)
    breaches = sum(bool(set(movies) & set(seen[user].tolist())) for user, movies in rankings.items())
    if breaches:
        raise ValueError(f"movies rated before were recommended to {breaches} users")


def main() -> None:
    parser = argparse.ArgumentParser(description="Quality of the recommendations on the held-out ratings.")
    parser.add_argument("--gateway", help="HOST:PORT of a server of the application (default: rank offline)")
    parser.add_argument("--directory", type=Path, default=Path(__file__).parent)
    parser.add_argument(
        "--compare", action="store_true", help="say how far gateway and offline ranking agree"
    )
    parser.add_argument("--json", action="store_true", help="figures for a machine")
    options = parser.parse_args()
    if options.compare and options.gateway is None:
        parser.error("--compare needs --gateway")
    rank: Rank = OfflineRanker(options.directory).rank
    if options.gateway is not None:
        rank = GatewayRanker(options.gateway).rank
    report = evaluate(rank, options.directory)
    if options.json:
        sys.stdout.write(json.dumps(report.figures(), indent=1) + "\n")
    else:
        Console().print(report.render())
    if options.compare:
        users, same, common = agreement(rank, options.directory)
        sys.stdout.write(
            f"online and offline: {same} of {users} lists are the same, {common:.2%} of movies in common\n"
        )


if __name__ == "__main__":
    main()
