"""YAML text that is wrong, too much, or not what it seems."""

from __future__ import annotations

import pytest
import yaml

from registry.document import MAX_FILE_BYTES, DocumentError, read_document


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"", 1, "the file is empty"),
        (b"# only a comment\n", 1, "the file is empty"),
        (b"app: x\nviews: {a: 1", 2, "not valid YAML"),
        (b"app: x\nviews:\n\tmovie: 1\n", 3, "a tab cannot indent YAML"),
        (b"app: \xff", 1, "not UTF-8"),
        (b"app: x\nb: \x00", 2, "a character that YAML does not allow"),
        (b"app: x\n---\napp: y\n", 2, "more than one document"),
        (b"- app\n", 1, "must be a mapping"),
        (b"app: x\nviews: *missing\n", 2, "no value is anchored"),
        (b"app: x\nviews: &a [*a]\n", 2, "no value is anchored"),
        (b"app: x\n? [a]\n: b\n", 2, "a key must be text"),
        (b"app: x\nviews: " + b"[" * 100_000, 2, "nested deeper than 32 levels"),
        (b"x" * (MAX_FILE_BYTES + 1), 1, "larger than"),
    ],
)
def test_place_is_named_when_text_is_no_document(content: bytes, line: int, message: str) -> None:
    with pytest.raises(DocumentError) as error:
        read_document(content)

    assert error.value.problem.line == line
    assert message in error.value.problem.message


@pytest.mark.parametrize("pure_python", [False, True])
@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("app: x\na: {f: float32[19]}", '"float32[19]"'),
        ('app: x\na: {e: "int64[]", f: {dtype: float32[4], space: t}, g: int64[]}', '"float32[4]"'),
        ("app: x\na: {f: int64[], g: string}", '"int64[]"'),
        ("app: x\na: [probability[1]]", '"probability[1]"'),
    ],
)
def test_quotes_are_advised_when_a_list_stands_bare_in_braces(
    text: str, hint: str, pure_python: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pure_python:
        monkeypatch.setattr("registry.document._PARSER", yaml.SafeLoader)
    with pytest.raises(DocumentError) as error:
        read_document(text.encode())

    assert error.value.problem.line == 2
    assert error.value.problem.message.endswith(f"put quotes around it here: {hint}")


def test_quotes_are_not_advised_when_something_else_is_wrong() -> None:
    with pytest.raises(DocumentError) as error:
        read_document(b'app: x\na: {f: "float32[19]", g: x: y}')

    assert "quotes" not in error.value.problem.message


def test_aliases_are_refused_when_they_expand_to_too_much() -> None:
    layers = [b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    layers += [b"a%d: &a%d [%s]" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 9)]

    with pytest.raises(DocumentError, match="more than 100000 values"):
        read_document(b"\n".join(layers))


def test_aliases_are_refused_when_they_nest_too_deep() -> None:
    layers = [b"a0: &a0 [x]"] + [b"a%d: &a%d [*a%d]" % (n, n, n - 1) for n in range(1, 100)]

    with pytest.raises(DocumentError, match="nested deeper than 32 levels"):
        read_document(b"\n".join(layers))


def test_keys_and_tags_are_reported_when_they_are_given_twice_or_not_read() -> None:
    document = read_document(b"a: 1\nb: {c: 1,\n c: 2}\na: 2\n<<: {}\nd: !!python/name:os.system ''\n")

    assert [(problem.line, problem.path) for problem in document.problems] == [
        (3, "b.c"),
        (4, "a"),
        (5, "<<"),
        (6, "d"),
    ]
    assert document.problems[1].message == "'a' is given twice, first on line 1"


def test_scalars_follow_the_core_schema() -> None:
    document = read_document(
        b"a: off\nb: 1:30\nc: 2024-01-01\nd: 1e3\ne: -.inf\nf: 12\n"
        b"g: '12'\nh: true\ni: ~\nj: 1_000\nk: 0x10\n"
    )

    assert {key: node.value for key, node in document.root.children()} == {
        "a": "off",
        "b": "1:30",
        "c": "2024-01-01",
        "d": 1000.0,
        "e": float("-inf"),
        "f": 12,
        "g": "12",
        "h": True,
        "i": None,
        "j": "1_000",
        "k": "0x10",
    }


def test_alias_has_its_own_line_and_the_anchors_value() -> None:
    document = read_document(b"a: &a {x: 1}\nb: *a\n")

    assert document.locate(("b", "x")) == (("b", "x"), 1)
    assert document.locate(("b",)) == (("b",), 2)
    assert document.locate(("b", "y", "z")) == (("b",), 2)
