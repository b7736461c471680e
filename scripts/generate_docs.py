"""Writes the generated documents: `docs/configuration.md` from the settings tree, and the application file's
JSON Schema, `docs/application.schema.json`. With --check, says whether they are fresh.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from registry.application_file import json_schema
from runtime.settings import FILE, PREFIX, SHORT_NAMES, Settings, setting_paths

DOCS = Path(__file__).resolve().parent.parent / "docs"

HEAD = f"""\
# Configuration

Generated from `runtime/settings.py` by `make docs`; don't edit.

Precedence: flag > environment > `{FILE}` in the working directory > default. A wrong or unknown setting stops
the process before it binds a port, and every mistake is named at once.
"""


def main() -> int:
    """Write the documents, or compare them. Exit code: 1 where one isn't fresh."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a document is not fresh")
    texts = {
        DOCS / "configuration.md": configuration(),
        DOCS / "application.schema.json": application_schema(),
    }
    if parser.parse_args().check:
        return check(texts)
    for path, text in texts.items():
        path.write_text(text)
    return 0


def check(texts: dict[Path, str]) -> int:
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        print(f"docs/{path.name} is not what the code gives: run `make docs`", file=sys.stderr)
    return 1 if stale else 0


def application_schema() -> str:
    """The JSON Schema of an application file, for editors."""
    return json.dumps(json_schema(), indent=2) + "\n"


def configuration() -> str:
    """Every setting, by group, with its names, type, default and consequence."""
    parts = [HEAD]
    group = None
    for path, field in setting_paths():
        heading = path.rpartition("__")[0]
        if heading != group:
            group = heading
            parts.append(section(group))
        parts.append(setting(path, field))
    return "\n".join(parts)


def section(group: str) -> str:
    if not group:
        return "## Top level\n"
    about = Settings.model_fields[group].annotation
    return f"## {group}\n\n{(about.__doc__ or '').strip()}\n" if about else f"## {group}\n"


def setting(path: str, field: FieldInfo) -> str:
    names = [PREFIX + name.upper() for name, full in SHORT_NAMES.items() if full == path]
    variables = ", ".join(f"`{name}`" for name in [PREFIX + path.upper(), *names])
    description = " ".join((field.description or "").split())
    return (
        f"### `{path.replace('__', '.')}`\n\n{description}\n\n"
        f"- Environment: {variables}\n- Default: `{json.dumps(default(field))}`\n"
    )


def default(field: FieldInfo) -> Any:
    value = field.get_default(call_default_factory=True, validated_data={})
    return value if isinstance(value, bool | int | float | str | list | dict | None) else str(value)


if __name__ == "__main__":
    raise SystemExit(main())
