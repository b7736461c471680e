from forebay.v1 import prediction_pb2 as _prediction_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListRecentRequestsRequest(_message.Message):
    __slots__ = ("limit", "id")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    limit: int
    id: str
    def __init__(self, limit: _Optional[int] = ..., id: _Optional[str] = ...) -> None: ...

class ListRecentRequestsResponse(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[RecentRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[RecentRequest, _Mapping]]] = ...) -> None: ...

class RecentRequest(_message.Message):
    __slots__ = ("method", "pipeline", "status", "started_at_us", "duration_us", "given_us", "degradations", "provenance")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PIPELINE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_US_FIELD_NUMBER: _ClassVar[int]
    DURATION_US_FIELD_NUMBER: _ClassVar[int]
    GIVEN_US_FIELD_NUMBER: _ClassVar[int]
    DEGRADATIONS_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    method: str
    pipeline: str
    status: str
    started_at_us: int
    duration_us: int
    given_us: int
    degradations: _containers.RepeatedCompositeFieldContainer[_prediction_pb2.Degradation]
    provenance: _prediction_pb2.Provenance
    def __init__(self, method: _Optional[str] = ..., pipeline: _Optional[str] = ..., status: _Optional[str] = ..., started_at_us: _Optional[int] = ..., duration_us: _Optional[int] = ..., given_us: _Optional[int] = ..., degradations: _Optional[_Iterable[_Union[_prediction_pb2.Degradation, _Mapping]]] = ..., provenance: _Optional[_Union[_prediction_pb2.Provenance, _Mapping]] = ...) -> None: ...

class DescribeServerRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeServerResponse(_message.Message):
    __slots__ = ("app", "plan", "release", "started_at_us", "pipelines", "pending_release_error", "calls", "degradations", "admission", "cache", "near_cache")
    APP_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_US_FIELD_NUMBER: _ClassVar[int]
    PIPELINES_FIELD_NUMBER: _ClassVar[int]
    PENDING_RELEASE_ERROR_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    DEGRADATIONS_FIELD_NUMBER: _ClassVar[int]
    ADMISSION_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    NEAR_CACHE_FIELD_NUMBER: _ClassVar[int]
    app: str
    plan: int
    release: int
    started_at_us: int
    pipelines: _containers.RepeatedCompositeFieldContainer[PipelineState]
    pending_release_error: str
    calls: _containers.RepeatedCompositeFieldContainer[MethodCalls]
    degradations: _containers.RepeatedCompositeFieldContainer[DegradationCount]
    admission: _containers.RepeatedCompositeFieldContainer[PipelineAdmission]
    cache: CacheCounts
    near_cache: NearCacheCounts
    def __init__(self, app: _Optional[str] = ..., plan: _Optional[int] = ..., release: _Optional[int] = ..., started_at_us: _Optional[int] = ..., pipelines: _Optional[_Iterable[_Union[PipelineState, _Mapping]]] = ..., pending_release_error: _Optional[str] = ..., calls: _Optional[_Iterable[_Union[MethodCalls, _Mapping]]] = ..., degradations: _Optional[_Iterable[_Union[DegradationCount, _Mapping]]] = ..., admission: _Optional[_Iterable[_Union[PipelineAdmission, _Mapping]]] = ..., cache: _Optional[_Union[CacheCounts, _Mapping]] = ..., near_cache: _Optional[_Union[NearCacheCounts, _Mapping]] = ...) -> None: ...

class DegradationCount(_message.Message):
    __slots__ = ("pipeline", "stage", "reason", "action", "answers")
    PIPELINE_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    pipeline: str
    stage: str
    reason: str
    action: str
    answers: int
    def __init__(self, pipeline: _Optional[str] = ..., stage: _Optional[str] = ..., reason: _Optional[str] = ..., action: _Optional[str] = ..., answers: _Optional[int] = ...) -> None: ...

class PipelineAdmission(_message.Message):
    __slots__ = ("pipeline", "in_flight", "limit", "admitted", "refused")
    PIPELINE_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    ADMITTED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    pipeline: str
    in_flight: int
    limit: int
    admitted: int
    refused: int
    def __init__(self, pipeline: _Optional[str] = ..., in_flight: _Optional[int] = ..., limit: _Optional[int] = ..., admitted: _Optional[int] = ..., refused: _Optional[int] = ...) -> None: ...

class CacheCounts(_message.Message):
    __slots__ = ("hits", "stale", "joined", "misses", "evicted", "invalidated", "entries", "bytes")
    HITS_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    MISSES_FIELD_NUMBER: _ClassVar[int]
    EVICTED_FIELD_NUMBER: _ClassVar[int]
    INVALIDATED_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    hits: int
    stale: int
    joined: int
    misses: int
    evicted: int
    invalidated: int
    entries: int
    bytes: int
    def __init__(self, hits: _Optional[int] = ..., stale: _Optional[int] = ..., joined: _Optional[int] = ..., misses: _Optional[int] = ..., evicted: _Optional[int] = ..., invalidated: _Optional[int] = ..., entries: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class NearCacheCounts(_message.Message):
    __slots__ = ("hits", "misses", "joined", "refreshed", "evicted", "dropped", "entries", "bytes")
    HITS_FIELD_NUMBER: _ClassVar[int]
    MISSES_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    REFRESHED_FIELD_NUMBER: _ClassVar[int]
    EVICTED_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    hits: int
    misses: int
    joined: int
    refreshed: int
    evicted: int
    dropped: int
    entries: int
    bytes: int
    def __init__(self, hits: _Optional[int] = ..., misses: _Optional[int] = ..., joined: _Optional[int] = ..., refreshed: _Optional[int] = ..., evicted: _Optional[int] = ..., dropped: _Optional[int] = ..., entries: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class MethodCalls(_message.Message):
    __slots__ = ("method", "by_status", "late")
    class ByStatusEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    METHOD_FIELD_NUMBER: _ClassVar[int]
    BY_STATUS_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    method: str
    by_status: _containers.ScalarMap[str, int]
    late: int
    def __init__(self, method: _Optional[str] = ..., by_status: _Optional[_Mapping[str, int]] = ..., late: _Optional[int] = ...) -> None: ...

class PipelineState(_message.Message):
    __slots__ = ("name", "usable", "reason", "uncovered")
    NAME_FIELD_NUMBER: _ClassVar[int]
    USABLE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    UNCOVERED_FIELD_NUMBER: _ClassVar[int]
    name: str
    usable: bool
    reason: str
    uncovered: str
    def __init__(self, name: _Optional[str] = ..., usable: bool = ..., reason: _Optional[str] = ..., uncovered: _Optional[str] = ...) -> None: ...
