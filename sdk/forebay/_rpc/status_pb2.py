"""google.rpc.Status, from `google.rpc` where it is installed, else from the bundled copy."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forebay._rpc.bundled.status_pb2 import DESCRIPTOR, Status
else:
    try:
        from google.rpc.status_pb2 import DESCRIPTOR, Status
    except ModuleNotFoundError:
        from forebay._rpc.bundled.status_pb2 import DESCRIPTOR, Status

__all__ = ["DESCRIPTOR", "Status"]
