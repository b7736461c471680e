"""The one error table, and errors onto the wire and back."""

from __future__ import annotations

import grpc
import pytest
from forebay._rpc.status_pb2 import Status
from forebay._status import (
    CODE_OF,
    DETAILS_KEY,
    FOREIGN_CODES,
    KIND_OF,
    PUSHBACK_KEY,
    Failure,
    error_in,
    error_of,
    failure_of,
)
from forebay.errors import (
    KINDS,
    DeadlineExceeded,
    Error,
    Internal,
    InvalidRequest,
    NotFound,
    Overloaded,
    Unavailable,
)

from runtime.rpc.status import MAX_MESSAGE_BYTES, code_of, message_of, status_of, trailers_of


def test_every_kind_has_exactly_one_code() -> None:
    assert set(CODE_OF) == set(KINDS)
    assert len(set(CODE_OF.values())) == len(KINDS)


def test_every_code_but_ok_has_exactly_one_kind() -> None:
    assert set(KIND_OF) == set(grpc.StatusCode) - {grpc.StatusCode.OK}
    assert not set(FOREIGN_CODES) & set(CODE_OF.values())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_kind_comes_back_when_it_is_read_from_status_and_trailers(kind: type[Error]) -> None:
    error = kind("view taste is gone", field="inputs.user_id", view="taste")

    back = error_of(code_of(error), message_of(error), trailers_of(error))

    assert type(back) is kind
    assert (back.message, back.field, back.metadata) == (error.message, error.field, error.metadata)


def test_error_info_is_always_there_when_an_error_is_encoded() -> None:
    (info,) = status_of(NotFound("no pipeline x")).details
    assert info.TypeName() == "google.rpc.ErrorInfo"
    assert b"NOT_FOUND" in info.value
    assert b"forebay" in info.value


def test_bad_request_names_the_field_when_one_is_wrong() -> None:
    names = [detail.TypeName() for detail in status_of(InvalidRequest("top is 0", field="top")).details]
    assert names == ["google.rpc.ErrorInfo", "google.rpc.BadRequest"]


def test_pushback_tells_when_to_return_when_overloaded() -> None:
    error = Overloaded("64 calls under way", retry_after_s=0.25)
    assert dict(trailers_of(error))[PUSHBACK_KEY] == "250"
    back = error_of(code_of(error), message_of(error), trailers_of(error))
    assert isinstance(back, Overloaded)
    assert back.retry_after_s == 0.25


def test_pushback_forbids_retries_when_overloaded_without_a_time() -> None:
    assert dict(trailers_of(Overloaded("64 calls under way")))[PUSHBACK_KEY] == "-1"


def test_subclass_has_its_kinds_code_and_reason_when_encoded() -> None:
    class SocketGone(Unavailable):
        pass

    error = SocketGone("the store hung up")
    assert code_of(error) is grpc.StatusCode.UNAVAILABLE
    assert b"SOCKET_GONE" not in status_of(error).SerializeToString()


def test_message_is_cut_within_its_characters_when_it_is_too_long() -> None:
    text = message_of(InvalidRequest("é" * MAX_MESSAGE_BYTES))
    assert len(text.encode()) <= MAX_MESSAGE_BYTES
    assert text.endswith("é...")


def test_code_decides_when_a_proxy_garbled_the_details() -> None:
    error = error_of(grpc.StatusCode.UNAVAILABLE, "upstream reset", [(DETAILS_KEY, b"\xff\xff")])
    assert type(error) is Unavailable
    assert error.message == "upstream reset"


def test_metadata_may_have_any_name_when_it_is_read_back() -> None:
    error = Internal("internal error 1f")
    error.metadata = {"message": "x", "self": "y", "field": "z"}
    assert error_of(code_of(error), "m", trailers_of(error)).metadata == error.metadata


def test_size_limit_is_the_callers_mistake_when_grpc_itself_refuses() -> None:
    text = "SERVER: Received message larger than max (2000000 vs. 1048576)"
    assert type(error_of(grpc.StatusCode.RESOURCE_EXHAUSTED, text, ())) is InvalidRequest


@pytest.mark.parametrize(
    ("pushback", "after_s"),
    [(None, 0.0), ("0", 0.0), ("250", 0.25), ("-1", None), ("soon", None), ("", None)],
)
def test_unavailable_may_be_repeated_unless_the_pushback_forbids_it(
    pushback: str | None, after_s: float | None
) -> None:
    trailers = () if pushback is None else ((PUSHBACK_KEY, pushback),)
    for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        assert failure_of(code, "gone", trailers).after_s == after_s


def test_overloaded_may_be_repeated_only_when_the_server_says_when() -> None:
    def failure(*trailers: tuple[str, str | bytes]) -> Failure:
        return failure_of(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", trailers)

    assert failure().after_s is None
    assert failure(*trailers_of(Overloaded("full"))).after_s is None
    assert failure(*trailers_of(Overloaded("full", retry_after_s=0.25))).after_s == 0.25
    by_pushback = failure((PUSHBACK_KEY, "250"))
    assert isinstance(by_pushback.error, Overloaded)
    assert (by_pushback.after_s, by_pushback.error.retry_after_s) == (0.25, 0.25)


@pytest.mark.parametrize(
    "code", [code for code, kind in KIND_OF.items() if kind not in (Unavailable, Overloaded)]
)
def test_no_other_failure_may_be_repeated(code: grpc.StatusCode) -> None:
    assert failure_of(code, "", ((PUSHBACK_KEY, "10"),)).after_s is None


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_kind_comes_back_when_it_is_read_from_a_status_inside_a_message(kind: type[Error]) -> None:
    back = error_in(status_of(kind("view taste is gone", field="inputs.user_id", view="taste")))
    assert type(back) is kind
    assert (back.field, back.metadata) == ("inputs.user_id", {"view": "taste"})


def test_status_inside_a_message_is_internal_when_its_code_is_unknown() -> None:
    assert type(error_in(Status(code=99, message="?"))) is Internal


def test_pushback_forbids_retries_that_would_come_after_the_deadline() -> None:
    error = Overloaded("64 calls under way", retry_after_s=0.25)
    assert dict(trailers_of(error, 0.3))[PUSHBACK_KEY] == "250"
    assert dict(trailers_of(error, 0.25))[PUSHBACK_KEY] == "-1"


def test_a_refusal_is_described_once_for_all_that_are_alike() -> None:
    first, second, other = (
        dict(trailers_of(Overloaded("64 calls under way", retry_after_s=seconds, limit="reads")))
        for seconds in (0.25, 0.25, 0.5)
    )
    assert first[DETAILS_KEY] is second[DETAILS_KEY]
    assert first[DETAILS_KEY] != other[DETAILS_KEY]


def test_a_missed_deadline_is_described_once_for_all_that_are_alike() -> None:
    first, second, other = (
        dict(trailers_of(DeadlineExceeded("the deadline passed, after admit", stage=stage)))
        for stage in ("admit", "admit", "predict")
    )
    assert first[DETAILS_KEY] is second[DETAILS_KEY]
    assert first[DETAILS_KEY] != other[DETAILS_KEY]
