"""`forebay demo`: the whole path on real ratings, from Parquet files to recommendations over gRPC. Data,
model and evaluation come from examples/movies; all else is done by the commands that a person would type.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import forebay
import numpy as np
import pyarrow.parquet as pq
from forebay.errors import DeadlineExceeded
from rich.text import Text

from cli.console import stdout
from cli.gateway_process import GatewayProcess, gateway_process, run_command, stream_worker_process
from cli.stream import stream_inspection
from cli.target import open_target, store_url
from cli.trace import recent_requests
from cli.waterfall import waterfall
from examples.movies.application import PIPELINE
from examples.movies.evaluate import evaluate, relevant_movies
from examples.movies.online import GatewayRanker
from examples.movies.prepare.preparation import prepare
from examples.movies.tastes import TasteProfile, two_different_users
from runtime.clock import Clock, SystemClock
from runtime.embedded_store import TemporaryStore
from runtime.settings import Settings, load_settings

APP = "movies"
DIRECTORY = Path(".forebay/movies")
TITLE = "movie_profile.title"
TREND = ["movie_trend.ratings_7d", "movie_trend.mean_rating_7d"]
LIVE = Path("data/live.parquet")
MEASURED_REQUESTS = 500
_POLL_S = 0.1
FRESH_ENOUGH_S = 7 * 24 * 3600


@dataclass(slots=True)
class Stages:
    """Prints what is being done, and how long it took."""

    clock: Clock
    began_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.began_s = self.clock.monotonic_s()

    @contextmanager
    def stage(self, title: str) -> Iterator[None]:
        """Print a heading, and after the block its seconds."""
        stdout().print(Text(f"\n{title}", "bold"))
        began_s = self.clock.monotonic_s()
        yield
        stdout().print(Text(f"  {self.clock.monotonic_s() - began_s:.1f} s", "dim"))

    def total_s(self) -> float:
        """Return the seconds since the beginning."""
        return self.clock.monotonic_s() - self.began_s


@click.command()
@click.option(
    "--prepare-only", is_flag=True, help="Fill the store for `forebay serve --app movies`, and stop."
)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=DIRECTORY,
    show_default=True,
    help="Where data and model are made; they are kept for the next time.",
)
@click.option("--redis", "redis_url", metavar="URL", help="Use this server. Default: one for the demo alone.")
def demo(prepare_only: bool, directory: Path, redis_url: str | None) -> None:
    """Recommend real movies to real people: MovieLens ratings, Redis, FAISS, ONNX, over gRPC.

    Makes the example application's data and ranker, applies and fills it, serves it as a process of its own,
    asks it for recommendations, measures them on held-out ratings, and draws one request's steps. Nothing is
    left running. With --prepare-only the application is left in the store that `forebay serve` uses; it is
    left alone where it is there already.
    """
    settings = load_settings(redis_url=redis_url)
    stages = Stages(SystemClock())
    if prepare_only:
        _prepare_only(settings, directory, stages)
    else:
        _demo(settings, directory, stages)


def _prepare_only(settings: Settings, directory: Path, stages: Stages) -> None:
    if asyncio.run(_is_prepared(settings)):
        click.echo(f"the application {APP} is prepared already")
        return
    _prepare(directory, stages)
    _fill(directory, ["--redis", store_url(settings), "--artifacts", str(settings.artifacts)], stages)
    click.echo(f"\nprepared: `forebay serve --app {APP}` serves it")


def _demo(settings: Settings, directory: Path, stages: Stages) -> None:
    with ExitStack() as stack:
        artifacts = stack.enter_context(TemporaryDirectory(prefix="forebay-demo-"))
        url = settings.redis.url or stack.enter_context(TemporaryStore()).url
        flags = ["--redis", url, "--artifacts", artifacts]
        _prepare(directory, stages)
        _fill(directory, flags, stages)
        with stages.stage("Serve, in a process of its own"):
            ports = ["--bind", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
            server = stack.enter_context(gateway_process(["--app", APP, *ports, *flags]))
            click.echo(f"  process {server.pid} serves gRPC at {server.gateway}")
        with stages.stage("Keep movie_trend from the stream of ratings, by a worker of its own"):
            worker = stack.enter_context(stream_worker_process(["--app", APP, *flags]))
            click.echo(f"  process {worker} reads 4 partitions; the last ratings of before are in already")
            _rate(server, directory, flags)
        _use(server, directory, stages)
    click.echo(f"\ndone in {stages.total_s():.0f} s; the server, the worker and the store have ended")
    click.echo("next: `make serve`, then the README's snippet from another shell")


def _use(server: GatewayProcess, directory: Path, stages: Stages) -> None:
    with forebay.Client(server.gateway) as client:
        with stages.stage("Recommend to two users of different taste"):
            for profile in two_different_users(directory):
                _recommend(client, profile)
        with stages.stage("Measure the recommendations on held-out ratings, through the gateway"):
            stdout().print(evaluate(GatewayRanker(server.gateway).rank, directory).render())
        users = list(relevant_movies(directory)[0])
        with stages.stage(f"Time {MEASURED_REQUESTS} requests, one after another"):
            _measure(client, users, stages.clock)
        with stages.stage("Look into one request"):
            answer = _patiently(client, users[0])
            found = recent_requests(server.admin, answer.provenance.prediction_id)
            for request in found:
                stdout().print(waterfall(request))


def _prepare(directory: Path, stages: Stages) -> None:
    with stages.stage("Prepare data and ranker from MovieLens (100,004 real ratings)"):
        prepared = prepare(directory, stages.clock.now_us(), lambda line: click.echo(f"  {line}"))
        for line in prepared.lines():
            click.echo(f"  {line}")


def _fill(directory: Path, flags: Sequence[str], stages: Stages) -> None:
    """Run the commands that bring an application from its file to a live index and to windows with a past."""
    commands = (
        ["apply", str(directory / "movies.yaml")],
        ["refresh", "run", "--app", APP],
        ["index", "build", "movies", "--app", APP],
        ["stream", "run", "--once", "--app", APP],
    )
    for command in commands:
        with stages.stage(f"$ forebay {' '.join(command)}"):
            for line in run_command([*command, *flags]).strip("\n").splitlines():
                click.echo(f"  {line}".rstrip())


def _rate(server: GatewayProcess, directory: Path, flags: Sequence[str]) -> None:
    """Publish ratings as if they were made now, and show what that does to the movies most rated."""
    movies = _most_rated(directory / LIVE)
    with forebay.Client(server.gateway) as client:
        before = client.features(TREND, movie_id=movies)
        arguments = ["stream", "publish", "ratings", str(directory / LIVE), "--times", "now", "--app", APP]
        click.echo("  $ forebay stream publish ratings data/live.parquet --times now")
        click.echo(f"  {run_command([*arguments, *flags]).strip()}: real ones, the newest held out")
        asyncio.run(_caught_up(load_settings(redis_url=flags[1])))
        after = client.features([*TREND, TITLE], movie_id=movies)
    counts, earlier = after.values(TREND[0]), before.values(TREND[0])
    for place in range(len(movies)):
        rise = f"{earlier[place]:3.0f} -> {counts[place]:3.0f} ratings in 7 days"
        click.echo(f"    {rise}, mean {after.values(TREND[1])[place]:.2f}  {after.values(TITLE)[place]}")


async def _caught_up(settings: Settings) -> None:
    """Wait until the worker has applied all that the stream holds."""
    async with open_target(settings, APP) as target:
        inspection = stream_inspection(target)
        while any(one.lag_events for one in await inspection.statuses()):  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)


def _most_rated(ratings: Path) -> list[int]:
    """Return the five movies with the most ratings in a file."""
    movies, counts = np.unique(pq.read_table(ratings, columns=["movie_id"])["movie_id"], return_counts=True)
    return [int(movie) for movie in movies[np.lexsort((movies, -counts))[:5]]]


def _recommend(client: forebay.Client, profile: TasteProfile) -> None:
    click.echo(f"  {profile.line}")
    answer = _patiently(client, profile.user_id)
    for rank, item in enumerate(answer, 1):
        trend = f"{item.features[TREND[0]]:.0f} ratings in 7 days"
        click.echo(f"    {rank:2}. {item.features[TITLE]}  {item.scores['score']:.3f}  {trend}")


def _patiently(client: forebay.Client, user: int) -> forebay.Answer:
    """Ask until an answer is whole and inside the pipeline's budget: the first of a process are slower."""
    for _ in range(9):
        try:
            answer = client.predict(PIPELINE, user_id=user, return_features=[TITLE, TREND[0]])
        except DeadlineExceeded:
            continue
        if not answer.degradations:
            return answer
    return client.predict(PIPELINE, user_id=user, return_features=[TITLE, TREND[0]])


def _measure(client: forebay.Client, users: Sequence[int], clock: Clock) -> None:
    """Print p50 and p99 of the calls as the client sees them."""
    took_ms: list[float] = []
    late = degraded = 0
    for place in range(MEASURED_REQUESTS):
        began_s = clock.monotonic_s()
        try:
            degraded += bool(client.predict(PIPELINE, user_id=users[place % len(users)]).degradations)
        except DeadlineExceeded:
            late += 1
        took_ms.append((clock.monotonic_s() - began_s) * 1000)
    p50, p99 = np.percentile(took_ms, [50, 99])
    click.echo(f"  p50 {p50:.2f} ms, p99 {p99:.2f} ms as the client sees them, 100 candidates ranked by each")
    if degraded:
        click.echo(f"  {degraded} of them were answered without something that was slow, as movies.yaml says")
    if late:
        click.echo(f"  {late} of them missed the pipeline's budget of 25 ms")


async def _is_prepared(settings: Settings) -> bool:
    """Return whether the application is applied, filled not long ago, and its index is there."""
    async with open_target(settings, APP) as target:
        plan, live = await target.registry.live_plan(), await target.registry.live()
        if plan is None or live is None:
            return False
        oldest_us = target.clock.now_us() - FRESH_ENOUGH_S * 1_000_000
        swapped = {name for name, view in plan.application.views.items() if view.batch is not None}
        fresh = [name for name, entry in live.views.items() if entry.as_of_us > oldest_us]
        index = live.indexes.get("movies")
        directory = settings.artifacts / APP / "indexes" / "movies" / (index.version if index else "-")
        return swapped <= set(fresh) and directory.is_dir()
