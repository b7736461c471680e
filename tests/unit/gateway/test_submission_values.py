"""The queue's values as bytes: what comes back is what went in, and what isn't ours is refused."""

import pytest
from forebay.errors import Corrupt, Overloaded
from forebay.v1 import prediction_pb2 as pb

from gateway.submissions.keys import Keys, hash_of
from gateway.submissions.messages import failed_result, failure_bytes, request_of, result_of
from gateway.submissions.submission import Delivery, Outcome, State, Submission

SUBMISSION = Submission("ab" * 16, b"\x00\xff\r\n", 7, "cd" * 16, "ef" * 16, 1_700_000_000_000_000)


def as_redis(fields: list[bytes | str | int]) -> list[bytes]:
    return [part if isinstance(part, bytes) else str(part).encode() for part in fields]


def test_a_submission_comes_back_from_its_entry() -> None:
    assert Submission.of(as_redis(SUBMISSION.fields())) == SUBMISSION


@pytest.mark.parametrize("missing", ["id", "request", "release", "trace", "key", "at"])
def test_an_entry_that_lacks_a_field_is_corrupt(missing: str) -> None:
    fields = as_redis(SUBMISSION.fields())
    place = fields.index(missing.encode())
    with pytest.raises(Corrupt):
        Submission.of(fields[:place] + fields[place + 2 :])


@pytest.mark.parametrize("fields", [[], [b"id"], [b"id", b"\xff"], [b"release", b"seven"]])
def test_what_is_no_submission_is_delivered_as_such(fields: list[bytes]) -> None:
    assert Delivery.of(b"1-1", fields, 2) == Delivery("1-1", None, 2)


def test_a_field_that_a_later_version_adds_is_no_harm() -> None:
    assert Submission.of([*as_redis(SUBMISSION.fields()), b"later", b"1"]) == SUBMISSION


@pytest.mark.parametrize("state", [State.DONE, State.FAILED])
def test_a_result_that_can_not_be_read_is_corrupt(state: State) -> None:
    with pytest.raises(Corrupt):
        result_of(Outcome(state, b"\xff"))
    with pytest.raises(Corrupt):
        request_of(b"\xff")


def test_an_empty_result_is_a_result() -> None:
    assert result_of(Outcome(State.DONE, b"")).HasField("response")
    pending = result_of(Outcome(State.PENDING, b""))
    assert not pending.HasField("response")
    assert not pending.HasField("error")


def test_a_failure_keeps_its_details() -> None:
    error = Overloaded("too many", retry_after_s=1.5, limit="pipeline")
    result = result_of(Outcome(State.FAILED, failure_bytes(error)))
    assert result == failed_result(error)
    assert result.state == pb.PREDICTION_STATE_FAILED
    kinds = [detail.type_url.rpartition(".")[2] for detail in result.error.details]
    assert kinds == ["ErrorInfo", "RetryInfo"]


def test_all_keys_of_an_application_share_a_hash_slot() -> None:
    keys = Keys("movies")
    names = [keys.work, keys.endings, keys.dead, keys.record("ab"), keys.first("cd")]
    assert {name[name.index("{") : name.index("}") + 1] for name in names} == {"{movies}"}
    assert len(set(names)) == 5


def test_a_hash_is_a_plain_name_whatever_is_hashed() -> None:
    for text in ("", "}{", "ü" * 1000, b"\x00"):
        assert len(hash_of(text)) == 32
        assert hash_of(text).isalnum()
