"""Writes the SDK's stubs from `protos/`; --check says whether the committed ones are fresh, --image writes
the descriptors that `make buf-lint` reads.

Runs in `.venv-proto` (requirements/proto.lock), which holds the oldest supported toolchain: see
`docs/decisions/0002-stubs-by-the-oldest-toolchain.md`.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from importlib.metadata import distribution
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
SDK = ROOT / "sdk"
STUBS = Path("forebay/v1")
BUNDLED = Path("forebay/_rpc/bundled")
WRITTEN_BY_HAND = ("__init__.py",)
GOOGLE_RPC = ("google/rpc/status.proto", "google/rpc/error_details.proto")


def main() -> int:
    """Write the stubs, or compare them with what would be written. Exit code: 1 where they differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a stub is not fresh")
    parser.add_argument("--image", type=Path, help="write only the descriptors, with comments, to this file")
    options = parser.parse_args()
    if options.image:
        write_image(options.image)
        return 0
    if not options.check:
        replace_stubs(generate(), SDK)
        return 0
    return report(stale_stubs(generate(), SDK))


def report(differing: list[Path]) -> int:
    for path in differing:
        print(f"sdk/{path} is not what protos/ gives: run `make proto`", file=sys.stderr)
    return 1 if differing else 0


def generate() -> dict[Path, str]:
    """Return the text of every generated file, by its path in the SDK."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory)
        compile_protos(output)
        return own_stubs(output) | bundled_stubs(output)


def compile_protos(output: Path) -> None:
    own = own_protos()
    service = re.compile(r"^service ", re.MULTILINE)
    with_services = [name for name in own if service.search((PROTOS / name).read_text())]
    run_protoc([f"--python_out={output}", f"--pyi_out={output}", *own, *GOOGLE_RPC])
    run_protoc([f"--grpc_python_out={output}", *with_services])


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    run_protoc([f"--descriptor_set_out={path}", "--include_imports", "--include_source_info", *own_protos()])


def own_protos() -> list[str]:
    return sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / STUBS).glob("*.proto"))


def run_protoc(arguments: list[str]) -> None:
    google_rpc = distribution("googleapis-common-protos").locate_file("")
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    code = protoc.main(["protoc", f"-I{PROTOS}", f"-I{google_rpc}", f"-I{well_known}", *arguments])
    if code != 0:
        raise SystemExit(code)


def own_stubs(output: Path) -> dict[Path, str]:
    """The stubs of `forebay.v1`, which take google.rpc's messages from `forebay._rpc`."""
    return {
        STUBS / path.name: path.read_text().replace("from google.rpc import ", "from forebay._rpc import ")
        for path in sorted((output / STUBS).iterdir())
    }


def bundled_stubs(output: Path) -> dict[Path, str]:
    """google.rpc's stubs under another module's name; the descriptor keeps its own file name."""
    module = ".".join(BUNDLED.parts)
    return {
        BUNDLED / path.name: path.read_text().replace("'google.rpc.", f"'{module}.")
        for path in sorted((output / "google/rpc").iterdir())
    }


def replace_stubs(texts: dict[Path, str], directory: Path) -> None:
    for path in committed_stubs(directory) - texts.keys():
        (directory / path).unlink()
    for path, text in texts.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text)


def stale_stubs(texts: dict[Path, str], directory: Path) -> list[Path]:
    """Return the paths that are missing, superfluous or different."""
    committed = committed_stubs(directory)
    different = {path for path in committed & texts.keys() if (directory / path).read_text() != texts[path]}
    return sorted(different | (committed ^ texts.keys()))


def committed_stubs(directory: Path) -> set[Path]:
    paths = [path for folder in (STUBS, BUNDLED) for path in (directory / folder).glob("*.py*")]
    return {path.relative_to(directory) for path in paths if path.name not in WRITTEN_BY_HAND}


if __name__ == "__main__":
    raise SystemExit(main())
