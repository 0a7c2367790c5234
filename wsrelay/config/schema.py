"""How values are written: the JSON Schema (draft 2020-12) of what a reader reads, beside it.

A reader of values is an ordinary function. `@written(…)` above it notes its Form, so that what is
read and what an editor accepts are changed in one place. A schema sees one value at a time: it is
wider than its reader where it must be, and never narrower than what people write.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Form", "Schema", "TableSchema", "form_of", "nullable", "or_variable", "written"]

Schema = dict[str, Any]
TableSchema = Callable[[type[Any]], Schema]
"""Gives the schema of a table that is a value: a group of keys."""

F = TypeVar("F", bound=Callable[..., Any])

_VARIABLE: Schema = {"$ref": "#/$defs/variable"}


def _same(value: object) -> object:
    return value


def _scalar(**_: Any) -> Schema:
    return {"type": ["string", "number", "boolean"]}


@dataclass(frozen=True, slots=True)
class Form:
    """How the values of one reader are written.

    Attributes:
        schema: Gives the schema; its arguments are those of the reader beside the node.
        show: The text or number that a value is written as, for defaults.
    """

    schema: Callable[..., Schema] = _scalar
    show: Callable[[Any], object] = _same


_forms: dict[Callable[..., Any], Form] = {}


def written(
    schema: Callable[..., Schema], show: Callable[[Any], object] = _same
) -> Callable[[F], F]:
    """Decorator of a reader, which stays as it is; the arguments are those of Form."""

    def note(reader: F) -> F:
        _forms[reader] = Form(schema, show)
        return reader

    return note


def form_of(reader: Callable[..., Any]) -> Form:
    """The form of a reader; of one without any, that of a single value."""
    return _forms.get(reader, Form())


def or_variable(schema: Schema) -> Schema:
    """What the schema accepts, or a text with `${env:…}` in it."""
    return {"anyOf": [schema, _VARIABLE]}


def nullable(schema: Schema) -> Schema:
    """What the schema accepts, or null, which stands for the default."""
    if not schema:
        return schema
    if isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [*schema.get("anyOf", [schema]), {"type": "null"}]}
