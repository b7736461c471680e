"""No bytes make the scan of a model do anything but answer or refuse."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from model_server.onnx_file import has_external_data
from tests.support.tiny_models import classifier

WHOLE = classifier().SerializeToString()


@given(st.binary(max_size=300))
def test_the_scan_answers_or_refuses_when_given_any_bytes(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        has_external_data(content)


@given(place=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255), cut=st.integers(0, len(WHOLE)))
def test_the_scan_answers_or_refuses_when_a_model_is_damaged(place: int, byte: int, cut: int) -> None:
    damaged = WHOLE[:place] + bytes([byte]) + WHOLE[place + 1 :]
    with contextlib.suppress(ValueError):
        has_external_data(damaged[:cut])
