"""google.rpc's messages work with and without the distribution that usually carries them, and one descriptor
pool never sees two copies. Runs in the clean environment, on the oldest supported protobuf.
"""

import os
import subprocess

import pytest

from tests.support.source_files import CLEAN_PYTHON, ROOT

HIDE_GOOGLE_RPC = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if (name + ".").startswith("google.rpc."):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
"""
STUBS = "from forebay.v1 import prediction_pb2\nfrom forebay._rpc import error_details_pb2, status_pb2\n"
GOOGLE_RPC = "import google.rpc.status_pb2, google.rpc.error_details_pb2\n"
ROUND_TRIP = """
sent = prediction_pb2.StreamPredictResponse(error=status_pb2.Status(code=3))
sent.error.details.add().Pack(error_details_pb2.ErrorInfo(reason="NOT_FOUND"))
received = prediction_pb2.StreamPredictResponse.FromString(sent.SerializeToString())
info = error_details_pb2.ErrorInfo()
assert received.error.details[0].Unpack(info) and info.reason == "NOT_FOUND"
assert isinstance(received.error, status_pb2.Status)
print(status_pb2.Status.__module__)
"""


@pytest.mark.parametrize(
    ("imports", "origin"),
    [
        pytest.param(HIDE_GOOGLE_RPC + STUBS, "forebay._rpc.bundled.status_pb2", id="not-installed"),
        pytest.param(STUBS + GOOGLE_RPC, "google.rpc.status_pb2", id="installed-and-imported-later"),
        pytest.param(GOOGLE_RPC + STUBS, "google.rpc.status_pb2", id="installed-and-imported-before"),
    ],
)
def test_messages_travel_in_a_status(imports: str, origin: str) -> None:
    finished = subprocess.run(
        [CLEAN_PYTHON, "-W", "error", "-c", imports + ROUND_TRIP],
        env={**os.environ, "PYTHONPATH": str(ROOT / "sdk")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == origin
