"""Loading ONNX models with the real runtime: what is served, what is refused and why."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from forebay.errors import NotFound, NotUsable
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from model_server.onnx_runner import OnnxRunner
from model_server.outputs import OutputColumn
from model_server.repository import ModelRepository
from model_server.signature import check_signature
from runtime.engine_settings import OnnxSettings
from tests.support.tiny_models import classifier, linear, model, published

FLOAT32 = np.dtype(np.float32)


def loaded(root: Path, made: onnx.ModelProto, settings: OnnxSettings | None = None) -> OnnxRunner:
    return OnnxRunner.load(published(root, "m", 1, made), "m", "1", settings)


def one_node(
    operator: str, input_type: int = TensorProto.FLOAT, rows: int | str = "rows", width: int | None = 2
) -> onnx.ModelProto:
    shape = [rows, width]
    node = helper.make_node(operator, ["x"], ["y"])
    return model([node], {"x": (input_type, shape)}, {"y": (input_type, shape)})


def lookup() -> onnx.ModelProto:
    """Return a model that looks int64 `x` up in a table of three, and fails past its end."""
    nodes = [helper.make_node("Gather", ["table", "x"], ["y"])]
    table = {"table": np.array([1, 2, 3], np.float32)}
    inputs = {"x": (TensorProto.INT64, ["rows", 1])}
    return model(nodes, inputs, {"y": (TensorProto.FLOAT, ["rows", 1])}, table)


@pytest.mark.parametrize("is_zipped", [True, False])
def test_a_zip_map_is_refused_and_a_tensor_served_when_a_classifier_is_exported(
    tmp_path: Path, is_zipped: bool
) -> None:
    x = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    fitted = LogisticRegression().fit(x, x[:, 0] > 0)
    exported = to_onnx(fitted, x[:1], options={"zipmap": is_zipped})
    path = tmp_path / "model.onnx"
    path.write_bytes(exported.SerializeToString())
    if is_zipped:
        with pytest.raises(
            NotUsable, match=r"output_probability is seq\(map.*without ZipMap.*'zipmap': False"
        ):
            OnnxRunner.load(path, "m", "1")
        return
    runner = OnnxRunner.load(path, "m", "1")
    score = OutputColumn.parse("score", "probabilities[1]")
    check_signature(runner, {"X": (FLOAT32, 3)}, [score])
    (value,) = runner.run({"X": x}, ["probabilities"])
    assert score.column_of(value) == pytest.approx(fitted.predict_proba(x)[:, 1], abs=1e-5)


def test_a_fixed_number_of_rows_is_refused_when_loading(tmp_path: Path) -> None:
    with pytest.raises(NotUsable, match=r"input x: float32\(1, 3\) has a fixed number of rows"):
        loaded(tmp_path, linear({"x": [1, 2, 3]}, rows=1))


def test_external_data_is_refused_when_the_file_lies_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There ONNX Runtime would read it, although the model is loaded from bytes."""
    monkeypatch.chdir(tmp_path)
    made = linear({"x": [1, 2, 3]})
    onnx.save(made, "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    assert Path("w.bin").stat().st_size
    with pytest.raises(NotUsable, match="model m version 1 keeps weights in other files"):
        OnnxRunner.load(tmp_path / "model.onnx", "m", "1")


@pytest.mark.parametrize(
    "content",
    [b"", b"junk", b"\x3a\x00", classifier().SerializeToString()[:-9], b"\0" * 100],
    ids=["empty", "junk", "empty graph", "truncated", "zeros"],
)
def test_a_file_is_refused_when_it_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(NotUsable, match="model m version 1"):
        OnnxRunner.load(path, "m", "1")


def test_a_model_is_refused_when_its_operator_does_not_exist(tmp_path: Path) -> None:
    made = linear({"x": [1, 2, 3]})
    made.graph.node[0].op_type = "Nonsense"
    with pytest.raises(NotUsable, match="can't be loaded"):
        loaded(tmp_path, made)


def test_a_model_is_refused_when_an_input_type_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(NotUsable, match=r"x is tensor\(bfloat16\), which isn't served"):
        loaded(tmp_path, one_node("Identity", TensorProto.BFLOAT16))


def test_a_model_is_refused_when_it_fails_on_zeros(tmp_path: Path) -> None:
    made = lookup()
    made.graph.node[0].input[0] = "empty"
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.empty(0, np.float32), "empty"))
    with pytest.raises(NotUsable, match="failed in a run"):
        loaded(tmp_path, made)


def test_a_run_fails_as_not_usable_when_the_model_fails_on_its_values(tmp_path: Path) -> None:
    runner = loaded(tmp_path, lookup())
    with pytest.raises(NotUsable, match=r"^model m version 1 failed in a run: [A-Za-z]+$"):
        runner.run({"x": np.array([[7]])}, ["y"])
    (value,) = runner.run({"x": np.array([[2]])}, ["y"])
    assert value.tolist() == [[3]]


@pytest.mark.parametrize(
    ("onnx_type", "values"),
    [
        (TensorProto.STRING, np.array([["a", "é"]], object)),
        (TensorProto.INT64, np.array([[1, -(2**62)]], np.int64)),
        (TensorProto.BOOL, np.array([[True, False]])),
        (TensorProto.FLOAT16, np.array([[1, 2]], np.float16)),
        (TensorProto.DOUBLE, np.array([[1, 2]], np.float64)),
        (TensorProto.UINT8, np.array([[1, 255]], np.uint8)),
    ],
)
def test_tensors_keep_their_type_when_run(tmp_path: Path, onnx_type: int, values: np.ndarray) -> None:
    runner = loaded(tmp_path, one_node("Identity", onnx_type))
    (found,) = runner.run({"x": values}, ["y"])
    assert found.tolist() == values.tolist()


def test_the_hash_is_of_the_file_when_loaded(tmp_path: Path) -> None:
    runner = loaded(tmp_path, classifier())
    assert runner.sha256 == hashlib.sha256((tmp_path / "m" / "1" / "model.onnx").read_bytes()).hexdigest()


def test_the_session_uses_one_thread_and_does_not_spin_when_loaded(tmp_path: Path) -> None:
    runner = loaded(tmp_path, classifier())
    options = runner._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert runner._session.get_providers() == ["CPUExecutionProvider"]


def test_every_difference_is_listed_when_a_model_does_not_fit(tmp_path: Path) -> None:
    runner = loaded(tmp_path, linear({"x": [1, 2, 3], "z": [1]}))
    outputs = [OutputColumn("a", "nothing"), OutputColumn("b", "score", 1)]
    with pytest.raises(NotUsable) as caught:
        check_signature(runner, {"x": (np.dtype(np.int64), 4), "y": (FLOAT32, 1)}, outputs)
    for part in (
        "model m version 1 doesn't fit its declaration: ",
        "it has no input y (it has x, z)",
        "its input is x: float32(?, 3), declared is x: int64(?, 4)",
        "its input z: float32(?, 1) isn't declared",
        "it has no output nothing for the score a (it has score)",
        "output score has 1 columns, so there is no column 1",
    ):
        assert part in caught.value.message


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (OutputColumn("s", "probability"), r"name one, as probability\[1\]"),
        (OutputColumn("s", "probability", 2), "no column 2"),
        (OutputColumn("s", "flat", 0), "1 dimension"),
    ],
)
def test_a_score_is_refused_when_the_output_has_another_shape(
    tmp_path: Path, output: OutputColumn, message: str
) -> None:
    with pytest.raises(NotUsable, match=message):
        check_signature(loaded(tmp_path, classifier()), {"x": (FLOAT32, 2)}, [output])


def test_a_score_is_refused_when_the_output_is_text(tmp_path: Path) -> None:
    runner = loaded(tmp_path, one_node("Identity", TensorProto.STRING, width=1))
    with pytest.raises(NotUsable, match=r"output y: string\(\?, 1\) holds no numbers"):
        check_signature(runner, {"x": (np.dtype(object), 1)}, [OutputColumn("s", "y")])


@pytest.mark.parametrize(("width", "fits"), [(3, True), (4, False)])
def test_a_free_width_is_tried_when_the_model_leaves_it_open(tmp_path: Path, width: int, fits: bool) -> None:
    made = linear({"x": [1, 2, 3]})
    made.graph.input[0].type.tensor_type.shape.dim[1].ClearField("dim_value")
    runner = loaded(tmp_path, made)
    assert runner.inputs["x"].shape == (None, None)
    if fits:
        check_signature(runner, {"x": (FLOAT32, width)}, [OutputColumn("s", "score")])
        return
    with pytest.raises(NotUsable, match="it fails on zeros"):
        check_signature(runner, {"x": (FLOAT32, width)}, [OutputColumn("s", "score")])


def test_a_score_is_refused_when_the_output_has_not_a_row_for_each_row(tmp_path: Path) -> None:
    node = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=1)
    made = model([node], {"x": (TensorProto.FLOAT, ["rows", 2])}, {"y": (TensorProto.FLOAT, [None, None])})
    with pytest.raises(NotUsable, match="output y has 1 rows for 3 rows of input"):
        check_signature(loaded(tmp_path, made), {"x": (FLOAT32, 2)}, [OutputColumn("s", "y")])


def test_versions_are_the_positive_integers_with_a_model_when_listed(tmp_path: Path) -> None:
    for version in (10, 2, "007", "0", "-1", "latest", "3.5"):
        published(tmp_path, "ranker", version, classifier())
    (tmp_path / "ranker" / "11").mkdir()
    (tmp_path / "ranker" / "12").write_text("")
    published(tmp_path, "other", 1, classifier())
    (tmp_path / "README").write_text("")
    repository = ModelRepository(tmp_path)
    assert repository.names() == ["other", "ranker"]
    assert repository.versions("ranker") == [2, 10]
    assert repository.latest("ranker") == 10
    assert repository.path("ranker", 2) == tmp_path / "ranker" / "2" / "model.onnx"
    assert repository.load("ranker", 10).version == "10"


@pytest.mark.parametrize("name", ["missing", "..", ".", "", "ranker/2", "../x/ranker"])
def test_the_message_says_what_is_there_when_a_model_is_not(tmp_path: Path, name: str) -> None:
    root = tmp_path / "models"
    published(root, "ranker", 2, classifier())
    repository = ModelRepository(root)
    assert repository.versions(name) == []
    with pytest.raises(NotFound, match="models there: ranker"):
        repository.latest(name)
    with pytest.raises(NotFound, match="models there: ranker"):
        repository.load(name, 2)


def test_the_message_says_which_versions_there_are_when_one_is_not(tmp_path: Path) -> None:
    published(tmp_path, "ranker", 2, classifier())
    published(tmp_path, "ranker", 5, classifier())
    with pytest.raises(NotFound, match="model ranker has no version 3; there is 2, 5"):
        ModelRepository(tmp_path).load("ranker", 3)


def test_nothing_is_there_when_the_repository_is_no_directory(tmp_path: Path) -> None:
    assert ModelRepository(tmp_path / "models").names() == []
    with pytest.raises(NotFound, match="models there: none"):
        ModelRepository(tmp_path / "models").latest("ranker")


def test_a_model_is_refused_when_it_is_larger_than_the_setting(tmp_path: Path) -> None:
    with pytest.raises(NotUsable, match="larger than max_model_bytes, 100 bytes"):
        loaded(tmp_path, classifier(), OnnxSettings(max_model_bytes=100))
