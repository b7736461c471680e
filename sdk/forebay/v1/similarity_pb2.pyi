from forebay.v1 import prediction_pb2 as _prediction_pb2
from forebay.v1 import values_pb2 as _values_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FindSimilarRequest(_message.Message):
    __slots__ = ("index", "vector", "key", "k")
    class KeyEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _values_pb2.Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_values_pb2.Value, _Mapping]] = ...) -> None: ...
    INDEX_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    index: str
    vector: _values_pb2.Tensor
    key: _containers.MessageMap[str, _values_pb2.Value]
    k: int
    def __init__(self, index: _Optional[str] = ..., vector: _Optional[_Union[_values_pb2.Tensor, _Mapping]] = ..., key: _Optional[_Mapping[str, _values_pb2.Value]] = ..., k: _Optional[int] = ...) -> None: ...

class FindSimilarResponse(_message.Message):
    __slots__ = ("entities", "scores", "provenance")
    ENTITIES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    entities: _containers.RepeatedCompositeFieldContainer[_values_pb2.Column]
    scores: _values_pb2.Column
    provenance: _prediction_pb2.Provenance
    def __init__(self, entities: _Optional[_Iterable[_Union[_values_pb2.Column, _Mapping]]] = ..., scores: _Optional[_Union[_values_pb2.Column, _Mapping]] = ..., provenance: _Optional[_Union[_prediction_pb2.Provenance, _Mapping]] = ...) -> None: ...
