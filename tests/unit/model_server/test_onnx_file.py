"""Whether a model needs other files, found without the onnx package."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from forebay.errors import NotFound, NotUsable
from onnx import TensorProto, helper, numpy_helper

from model_server.onnx_file import has_external_data, read_onnx
from tests.support.tiny_models import classifier, linear, model


def external(name: str = "w") -> TensorProto:
    tensor = numpy_helper.from_array(np.ones((3, 1), np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor


def in_initializer() -> onnx.ModelProto:
    made = linear({"x": [1, 2, 3]})
    made.graph.initializer.append(external())
    return made


def in_sparse_initializer() -> onnx.ModelProto:
    made = linear({"x": [1, 2, 3]})
    made.graph.sparse_initializer.add().indices.CopyFrom(external())
    return made


def in_attribute() -> onnx.ModelProto:
    made = linear({"x": [1, 2, 3]})
    made.graph.node.append(helper.make_node("Constant", [], ["c"], value=external()))
    return made


def in_attribute_list() -> onnx.ModelProto:
    made = linear({"x": [1, 2, 3]})
    made.graph.node[0].attribute.add(name="many").tensors.append(external())
    return made


def in_subgraph() -> onnx.ModelProto:
    made = linear({"x": [1, 2, 3]})
    inner = helper.make_graph([], "inner", [], [], [external()])
    middle = helper.make_graph([helper.make_node("If", ["c"], ["d"], then_branch=inner)], "middle", [], [])
    made.graph.node.append(helper.make_node("Loop", [], ["e"], body=middle))
    return made


def in_function() -> onnx.ModelProto:
    made = linear({"x": [1, 2, 3]})
    function = made.functions.add(name="f", domain="d")
    function.node.append(helper.make_node("Constant", [], ["c"], value=external()))
    return made


def in_training() -> onnx.ModelProto:
    made = linear({"x": [1, 2, 3]})
    made.training_info.add().algorithm.initializer.append(external())
    return made


def without_location() -> onnx.ModelProto:
    made = linear({"x": [1, 2, 3]})
    made.graph.initializer[0].external_data.add(key="location", value="weights.bin")
    return made


def in_memory() -> onnx.ModelProto:
    made = linear({"x": [1, 2, 3]})
    made.graph.initializer[0].data_location = TensorProto.EXTERNAL
    return made


MAKERS = [
    in_initializer,
    in_sparse_initializer,
    in_attribute,
    in_attribute_list,
    in_subgraph,
    in_function,
    in_training,
    without_location,
    in_memory,
]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_external_data_is_found_when_it_is_anywhere(make: object, tmp_path: Path) -> None:
    content = make().SerializeToString()  # type: ignore[operator]
    assert has_external_data(content)
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(NotUsable, match="external data"):
        read_onnx(path, "model m version 1", len(content))


@pytest.mark.parametrize("made", [linear({"x": [1, 2, 3]}), classifier()], ids=["linear", "classifier"])
def test_nothing_is_found_when_a_model_is_whole(made: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString())
    file = read_onnx(path, "model m version 1", 1 << 20)
    assert file.content == made.SerializeToString()
    assert len(file.sha256) == 64


def test_weights_are_not_mistaken_for_structure_when_they_look_like_it() -> None:
    """Raw weights that happen to be the bytes of a tensor with external data."""
    disguise = np.frombuffer(external().SerializeToString(), np.uint8)
    made = model(
        [helper.make_node("Identity", ["x"], ["y"])],
        {"x": (TensorProto.FLOAT, ["rows", 1])},
        {"y": (TensorProto.FLOAT, ["rows", 1])},
        {"w": disguise},
    )
    assert not has_external_data(made.SerializeToString())


@pytest.mark.parametrize(
    "content",
    [
        b"\x00",
        b"\x08",
        b"\x0b",
        b"\x0f",
        b"\x3a\x05ab",
        b"\x08" + b"\xff" * 10 + b"\x01",
        b"\xff\xff\xff\xff\xff\x01\x00",
        b"\x0d\x00",
        b"\x89PNG\r\n",
        b"ORTM" * 5,
    ],
)
def test_a_file_is_refused_when_it_is_no_message(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(NotUsable, match="isn't an ONNX file"):
        read_onnx(path, "model m version 1", 1 << 20)


def test_a_file_is_refused_when_it_is_nested_without_end(tmp_path: Path) -> None:
    content = b""
    for number in range(150):
        tag = bytes([(6 if number % 3 == 0 else 1 if number % 3 == 2 else 5) << 3 | 2])
        content = tag + _varint(len(content)) + content
    path = tmp_path / "model.onnx"
    graph = bytes([7 << 3 | 2]) + _varint(len(content)) + content
    path.write_bytes(graph)
    with pytest.raises(NotUsable, match="nested too deep"):
        read_onnx(path, "model m version 1", 1 << 20)


def test_a_file_is_refused_when_it_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(classifier().SerializeToString())
    with pytest.raises(NotUsable, match="max_model_bytes, 10 bytes"):
        read_onnx(path, "model m version 1", 10)


def test_a_file_is_not_found_or_not_usable_when_it_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_onnx(tmp_path / "model.onnx", "model m version 1", 10)
    with pytest.raises(NotUsable, match="can't be read"):
        read_onnx(tmp_path, "model m version 1", 10)


def _varint(number: int) -> bytes:
    encoded = b""
    while number > 127:
        encoded += bytes([number & 127 | 128])
        number >>= 7
    return encoded + bytes([number])
