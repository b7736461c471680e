"""Which tables a query of an application file names, by parsing it alone: nothing is read or run."""

from __future__ import annotations

import duckdb
import sqlglot
from sqlglot import expressions


class QueryError(ValueError):
    """The SQL isn't one query; the message says why."""


def tables_named(sql: str) -> list[str]:
    """Return the tables and files that the query reads by name, in the order of their names.

    What it names within itself (WITH), table functions and tables of another schema are left out.
    Raises: QueryError.
    """
    tree = _query(sql)
    found = {table.name for table in tree.find_all(expressions.Table) if _is_plain(table)}
    return sorted(found)


def reads_only_names(sql: str) -> bool:
    """Return whether all that the query reads are tables and files by name: no table functions, no tables of
    another schema. Raises: QueryError."""
    return all(
        isinstance(table.this, expressions.Identifier) and not table.db
        for table in _query(sql).find_all(expressions.Table)
    )


def _query(sql: str) -> expressions.Query | expressions.Pivot:
    try:
        duckdb.extract_statements(sql)
        statements = [tree for tree in sqlglot.parse(sql, dialect="duckdb") if tree is not None]
    except duckdb.Error as error:
        raise QueryError(first_paragraph(error)) from error
    except sqlglot.errors.ParseError as error:
        first = error.errors[0] if error.errors else {}
        where = f" (line {first['line']} of the SQL)" if first.get("line") else ""
        raise QueryError(f"{first.get('description') or 'is no SQL'}{where}") from error
    except sqlglot.errors.SqlglotError as error:
        raise QueryError(first_paragraph(error)) from error
    queries = [tree for tree in statements if isinstance(tree, expressions.Query | expressions.Pivot)]
    if len(statements) != 1 or len(queries) != 1:
        raise QueryError("must be one query, such as `select ... from ...`")
    return queries[0]


def first_paragraph(error: Exception) -> str:
    """Return what the engine says without its drawing of the query."""
    return " ".join(str(error).split("\n\nLINE")[0].split()) or type(error).__name__


def _is_plain(table: expressions.Table) -> bool:
    is_name = isinstance(table.this, expressions.Identifier) and not table.db
    return is_name and not _is_of_the_query(table)


def _is_of_the_query(table: expressions.Table) -> bool:
    """Return whether a WITH around the table defines its name."""
    node = table.parent
    while node is not None:
        defined = node.ctes if isinstance(node, expressions.Query) else ()
        if table.name.lower() in {part.alias.lower() for part in defined}:
            return True
        node = node.parent
    return False
