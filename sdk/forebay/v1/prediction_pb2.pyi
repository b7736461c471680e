from forebay.v1 import values_pb2 as _values_pb2
from forebay._rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CacheOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CACHE_OUTCOME_UNSPECIFIED: _ClassVar[CacheOutcome]
    CACHE_OUTCOME_MISS: _ClassVar[CacheOutcome]
    CACHE_OUTCOME_HIT: _ClassVar[CacheOutcome]
    CACHE_OUTCOME_STALE: _ClassVar[CacheOutcome]
    CACHE_OUTCOME_JOINED: _ClassVar[CacheOutcome]
    CACHE_OUTCOME_PRECOMPUTED: _ClassVar[CacheOutcome]
    CACHE_OUTCOME_OFF: _ClassVar[CacheOutcome]

class PredictionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PREDICTION_STATE_UNSPECIFIED: _ClassVar[PredictionState]
    PREDICTION_STATE_PENDING: _ClassVar[PredictionState]
    PREDICTION_STATE_DONE: _ClassVar[PredictionState]
    PREDICTION_STATE_FAILED: _ClassVar[PredictionState]
CACHE_OUTCOME_UNSPECIFIED: CacheOutcome
CACHE_OUTCOME_MISS: CacheOutcome
CACHE_OUTCOME_HIT: CacheOutcome
CACHE_OUTCOME_STALE: CacheOutcome
CACHE_OUTCOME_JOINED: CacheOutcome
CACHE_OUTCOME_PRECOMPUTED: CacheOutcome
CACHE_OUTCOME_OFF: CacheOutcome
PREDICTION_STATE_UNSPECIFIED: PredictionState
PREDICTION_STATE_PENDING: PredictionState
PREDICTION_STATE_DONE: PredictionState
PREDICTION_STATE_FAILED: PredictionState

class PredictRequest(_message.Message):
    __slots__ = ("pipeline", "inputs", "candidates", "top", "return_features")
    class InputsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _values_pb2.Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_values_pb2.Value, _Mapping]] = ...) -> None: ...
    PIPELINE_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    RETURN_FEATURES_FIELD_NUMBER: _ClassVar[int]
    pipeline: str
    inputs: _containers.MessageMap[str, _values_pb2.Value]
    candidates: _containers.RepeatedCompositeFieldContainer[_values_pb2.Column]
    top: int
    return_features: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, pipeline: _Optional[str] = ..., inputs: _Optional[_Mapping[str, _values_pb2.Value]] = ..., candidates: _Optional[_Iterable[_Union[_values_pb2.Column, _Mapping]]] = ..., top: _Optional[int] = ..., return_features: _Optional[_Iterable[str]] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("entities", "scores", "features", "degradations", "provenance")
    ENTITIES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    DEGRADATIONS_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    entities: _containers.RepeatedCompositeFieldContainer[_values_pb2.Column]
    scores: _containers.RepeatedCompositeFieldContainer[_values_pb2.Column]
    features: _containers.RepeatedCompositeFieldContainer[_values_pb2.Column]
    degradations: _containers.RepeatedCompositeFieldContainer[Degradation]
    provenance: Provenance
    def __init__(self, entities: _Optional[_Iterable[_Union[_values_pb2.Column, _Mapping]]] = ..., scores: _Optional[_Iterable[_Union[_values_pb2.Column, _Mapping]]] = ..., features: _Optional[_Iterable[_Union[_values_pb2.Column, _Mapping]]] = ..., degradations: _Optional[_Iterable[_Union[Degradation, _Mapping]]] = ..., provenance: _Optional[_Union[Provenance, _Mapping]] = ...) -> None: ...

class Degradation(_message.Message):
    __slots__ = ("stage", "subject", "reason", "action", "count")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    stage: str
    subject: str
    reason: str
    action: str
    count: int
    def __init__(self, stage: _Optional[str] = ..., subject: _Optional[str] = ..., reason: _Optional[str] = ..., action: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class StageTiming(_message.Message):
    __slots__ = ("stage", "start_us", "duration_us", "given_us")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    START_US_FIELD_NUMBER: _ClassVar[int]
    DURATION_US_FIELD_NUMBER: _ClassVar[int]
    GIVEN_US_FIELD_NUMBER: _ClassVar[int]
    stage: str
    start_us: int
    duration_us: int
    given_us: int
    def __init__(self, stage: _Optional[str] = ..., start_us: _Optional[int] = ..., duration_us: _Optional[int] = ..., given_us: _Optional[int] = ...) -> None: ...

class Provenance(_message.Message):
    __slots__ = ("prediction_id", "release", "model", "model_version", "index", "index_version", "cache", "cache_age_us", "oldest_as_of_us", "stages", "trace_id")
    PREDICTION_ID_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    INDEX_VERSION_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    CACHE_AGE_US_FIELD_NUMBER: _ClassVar[int]
    OLDEST_AS_OF_US_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    prediction_id: str
    release: int
    model: str
    model_version: str
    index: str
    index_version: str
    cache: CacheOutcome
    cache_age_us: int
    oldest_as_of_us: int
    stages: _containers.RepeatedCompositeFieldContainer[StageTiming]
    trace_id: str
    def __init__(self, prediction_id: _Optional[str] = ..., release: _Optional[int] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ..., index: _Optional[str] = ..., index_version: _Optional[str] = ..., cache: _Optional[_Union[CacheOutcome, str]] = ..., cache_age_us: _Optional[int] = ..., oldest_as_of_us: _Optional[int] = ..., stages: _Optional[_Iterable[_Union[StageTiming, _Mapping]]] = ..., trace_id: _Optional[str] = ...) -> None: ...

class StreamPredictRequest(_message.Message):
    __slots__ = ("request_id", "request", "timeout_us")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_US_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    request: PredictRequest
    timeout_us: int
    def __init__(self, request_id: _Optional[str] = ..., request: _Optional[_Union[PredictRequest, _Mapping]] = ..., timeout_us: _Optional[int] = ...) -> None: ...

class StreamPredictResponse(_message.Message):
    __slots__ = ("request_id", "response", "error")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response: PredictResponse
    error: _status_pb2.Status
    def __init__(self, request_id: _Optional[str] = ..., response: _Optional[_Union[PredictResponse, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class SubmitPredictionRequest(_message.Message):
    __slots__ = ("request", "idempotency_key")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    request: PredictRequest
    idempotency_key: str
    def __init__(self, request: _Optional[_Union[PredictRequest, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class SubmitPredictionResponse(_message.Message):
    __slots__ = ("prediction_id",)
    PREDICTION_ID_FIELD_NUMBER: _ClassVar[int]
    prediction_id: str
    def __init__(self, prediction_id: _Optional[str] = ...) -> None: ...

class GetPredictionRequest(_message.Message):
    __slots__ = ("prediction_id", "wait_us")
    PREDICTION_ID_FIELD_NUMBER: _ClassVar[int]
    WAIT_US_FIELD_NUMBER: _ClassVar[int]
    prediction_id: str
    wait_us: int
    def __init__(self, prediction_id: _Optional[str] = ..., wait_us: _Optional[int] = ...) -> None: ...

class GetPredictionResponse(_message.Message):
    __slots__ = ("state", "response", "error")
    STATE_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    state: PredictionState
    response: PredictResponse
    error: _status_pb2.Status
    def __init__(self, state: _Optional[_Union[PredictionState, str]] = ..., response: _Optional[_Union[PredictResponse, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class WatchPredictionRequest(_message.Message):
    __slots__ = ("prediction_ids",)
    PREDICTION_IDS_FIELD_NUMBER: _ClassVar[int]
    prediction_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, prediction_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class WatchPredictionResponse(_message.Message):
    __slots__ = ("prediction_id", "result")
    PREDICTION_ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    prediction_id: str
    result: GetPredictionResponse
    def __init__(self, prediction_id: _Optional[str] = ..., result: _Optional[_Union[GetPredictionResponse, _Mapping]] = ...) -> None: ...
