from forebay.v1 import values_pb2 as _values_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReadFeaturesRequest(_message.Message):
    __slots__ = ("features", "keys", "event_times")
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIMES_FIELD_NUMBER: _ClassVar[int]
    features: _containers.RepeatedScalarFieldContainer[str]
    keys: _containers.RepeatedCompositeFieldContainer[_values_pb2.Column]
    event_times: bool
    def __init__(self, features: _Optional[_Iterable[str]] = ..., keys: _Optional[_Iterable[_Union[_values_pb2.Column, _Mapping]]] = ..., event_times: bool = ...) -> None: ...

class ReadFeaturesResponse(_message.Message):
    __slots__ = ("columns",)
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    columns: _containers.RepeatedCompositeFieldContainer[_values_pb2.Column]
    def __init__(self, columns: _Optional[_Iterable[_Union[_values_pb2.Column, _Mapping]]] = ...) -> None: ...

class WriteFeaturesRequest(_message.Message):
    __slots__ = ("view", "keys", "features", "event_times_us")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIMES_US_FIELD_NUMBER: _ClassVar[int]
    view: str
    keys: _containers.RepeatedCompositeFieldContainer[_values_pb2.Column]
    features: _containers.RepeatedCompositeFieldContainer[_values_pb2.Column]
    event_times_us: _values_pb2.Tensor
    def __init__(self, view: _Optional[str] = ..., keys: _Optional[_Iterable[_Union[_values_pb2.Column, _Mapping]]] = ..., features: _Optional[_Iterable[_Union[_values_pb2.Column, _Mapping]]] = ..., event_times_us: _Optional[_Union[_values_pb2.Tensor, _Mapping]] = ...) -> None: ...

class WriteFeaturesResponse(_message.Message):
    __slots__ = ("outcomes", "problems")
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    outcomes: bytes
    problems: _containers.RepeatedCompositeFieldContainer[WriteProblem]
    def __init__(self, outcomes: _Optional[bytes] = ..., problems: _Optional[_Iterable[_Union[WriteProblem, _Mapping]]] = ...) -> None: ...

class WriteProblem(_message.Message):
    __slots__ = ("field", "row_count", "rule")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    field: str
    row_count: int
    rule: str
    def __init__(self, field: _Optional[str] = ..., row_count: _Optional[int] = ..., rule: _Optional[str] = ...) -> None: ...

class DeleteEntitiesRequest(_message.Message):
    __slots__ = ("entity", "keys")
    ENTITY_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    entity: str
    keys: _containers.RepeatedCompositeFieldContainer[_values_pb2.Column]
    def __init__(self, entity: _Optional[str] = ..., keys: _Optional[_Iterable[_Union[_values_pb2.Column, _Mapping]]] = ...) -> None: ...

class DeleteEntitiesResponse(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: bytes
    def __init__(self, outcomes: _Optional[bytes] = ...) -> None: ...

class ListViewsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListViewsResponse(_message.Message):
    __slots__ = ("views",)
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    views: _containers.RepeatedCompositeFieldContainer[View]
    def __init__(self, views: _Optional[_Iterable[_Union[View, _Mapping]]] = ...) -> None: ...

class DescribeViewRequest(_message.Message):
    __slots__ = ("view",)
    VIEW_FIELD_NUMBER: _ClassVar[int]
    view: str
    def __init__(self, view: _Optional[str] = ...) -> None: ...

class DescribeViewResponse(_message.Message):
    __slots__ = ("view",)
    VIEW_FIELD_NUMBER: _ClassVar[int]
    view: View
    def __init__(self, view: _Optional[_Union[View, _Mapping]] = ...) -> None: ...

class View(_message.Message):
    __slots__ = ("name", "entity", "publish", "max_age_us", "as_of_us", "generation", "features", "key", "view_id", "entity_id", "batch", "row_count", "age_us", "stale")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENTITY_FIELD_NUMBER: _ClassVar[int]
    PUBLISH_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_US_FIELD_NUMBER: _ClassVar[int]
    AS_OF_US_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VIEW_ID_FIELD_NUMBER: _ClassVar[int]
    ENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    AGE_US_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    name: str
    entity: str
    publish: str
    max_age_us: int
    as_of_us: int
    generation: int
    features: _containers.RepeatedCompositeFieldContainer[ViewFeature]
    key: _containers.RepeatedCompositeFieldContainer[ViewFeature]
    view_id: int
    entity_id: int
    batch: str
    row_count: int
    age_us: int
    stale: bool
    def __init__(self, name: _Optional[str] = ..., entity: _Optional[str] = ..., publish: _Optional[str] = ..., max_age_us: _Optional[int] = ..., as_of_us: _Optional[int] = ..., generation: _Optional[int] = ..., features: _Optional[_Iterable[_Union[ViewFeature, _Mapping]]] = ..., key: _Optional[_Iterable[_Union[ViewFeature, _Mapping]]] = ..., view_id: _Optional[int] = ..., entity_id: _Optional[int] = ..., batch: _Optional[str] = ..., row_count: _Optional[int] = ..., age_us: _Optional[int] = ..., stale: bool = ...) -> None: ...

class ViewFeature(_message.Message):
    __slots__ = ("name", "dtype", "has_default", "default_value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    HAS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    has_default: bool
    default_value: _values_pb2.Value
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., has_default: bool = ..., default_value: _Optional[_Union[_values_pb2.Value, _Mapping]] = ...) -> None: ...
