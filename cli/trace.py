"""`forebay trace`: recent requests of a running server, read from the admin port's bounded ring."""

from __future__ import annotations

import click
import grpc
from forebay.errors import NotFound, Unavailable
from forebay.v1 import admin_pb2, admin_pb2_grpc

from cli.console import instant, print_json, print_table, stdout
from cli.options import json_option
from cli.waterfall import as_dict, microseconds, waterfall
from runtime.settings import load_settings

TIMEOUT_S = 5.0


@click.command()
@click.argument("identity", metavar="[ID]", default="")
@click.option("--admin", metavar="HOST:PORT", help="The server's admin port. Default: 127.0.0.1:8501.")
@click.option("--limit", type=click.IntRange(1, 1000), default=None, help="How many requests. Default: 1.")
@click.option("--list", "as_list", is_flag=True, help="One line per request instead of a drawing.")
@json_option
def trace(identity: str, admin: str | None, limit: int | None, as_list: bool, as_json: bool) -> None:
    """Draw a request's steps: when each began, what it took, what it was given.

    ID is a prediction id or a trace id, as answers carry them; without one the latest request is drawn. The
    server keeps the last few hundred requests (server.recent_requests).

    \b
      forebay trace                    the latest request
      forebay trace 4bf92f3577b34da6   that one
      forebay trace --list --limit 20  the latest twenty, one line each
    """
    settings = load_settings(server__admin=admin)
    found = recent_requests(settings.server.admin, identity, limit or (20 if as_list else 1))
    if as_json:
        print_json([as_dict(request) for request in found])
        return
    if not found:
        raise NotFound(_nothing(identity))
    if as_list:
        _print_list(found)
        return
    for request in found:
        stdout().print(waterfall(request))


def recent_requests(admin: str, identity: str = "", limit: int = 1) -> list[admin_pb2.RecentRequest]:
    """Return requests from a server's ring, the latest first. Raises: Unavailable."""
    with grpc.insecure_channel(admin) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]
        wanted = admin_pb2.ListRecentRequestsRequest(id=identity, limit=limit)
        try:
            answer = stub.ListRecentRequests(wanted, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            raise Unavailable(
                f"no forebay server answers at the admin port {admin} ({error.code().name}): "
                "start one with `forebay serve`, or name its port with --admin"
            ) from error
    return list(answer.requests)


def _nothing(identity: str) -> str:
    if identity:
        return "the server remembers no request of that id; it may have been too long ago"
    return "the server has answered no request yet"


def _print_list(requests: list[admin_pb2.RecentRequest]) -> None:
    rows = [
        {
            "prediction": request.provenance.prediction_id,
            "method": request.method.rpartition("/")[2],
            "pipeline": request.pipeline,
            "status": request.status,
            "took": microseconds(request.duration_us),
            "given": microseconds(request.given_us) if request.given_us else "",
            "degraded": len(request.degradations) or None,
            "at": instant(request.started_at_us),
        }
        for request in requests
    ]
    print_table(rows, list(rows[0]), empty="")
