"""google.rpc's error details, from `google.rpc` where it is installed, else from the bundled copy."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forebay._rpc.bundled.error_details_pb2 import (
        DESCRIPTOR,
        BadRequest,
        DebugInfo,
        ErrorInfo,
        Help,
        LocalizedMessage,
        PreconditionFailure,
        QuotaFailure,
        RequestInfo,
        ResourceInfo,
        RetryInfo,
    )
else:
    try:
        from google.rpc.error_details_pb2 import (
            DESCRIPTOR,
            BadRequest,
            DebugInfo,
            ErrorInfo,
            Help,
            LocalizedMessage,
            PreconditionFailure,
            QuotaFailure,
            RequestInfo,
            ResourceInfo,
            RetryInfo,
        )
    except ModuleNotFoundError:
        from forebay._rpc.bundled.error_details_pb2 import (
            DESCRIPTOR,
            BadRequest,
            DebugInfo,
            ErrorInfo,
            Help,
            LocalizedMessage,
            PreconditionFailure,
            QuotaFailure,
            RequestInfo,
            ResourceInfo,
            RetryInfo,
        )

__all__ = [
    "DESCRIPTOR",
    "BadRequest",
    "DebugInfo",
    "ErrorInfo",
    "Help",
    "LocalizedMessage",
    "PreconditionFailure",
    "QuotaFailure",
    "RequestInfo",
    "ResourceInfo",
    "RetryInfo",
]
