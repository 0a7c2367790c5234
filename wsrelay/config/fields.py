"""How a table of fields is read: the dataclass is the table.

Each field of an entry carries a Setting in its metadata: the key in the file, the reader of its
value, and what an absent key means. `read_table` does the rest, for every kind alike, and goes on
after a problem, so that one run tells them all.
"""

import dataclasses
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from wsrelay._text import did_you_mean, listed, quoted
from wsrelay.config.nodes import Mapping, Node, Pair, Scalar, Sequence, describe, is_null
from wsrelay.config.problems import Place, Problem
from wsrelay.config.schema import Schema, TableSchema, form_of, or_variable

__all__ = [
    "Absent",
    "Reader",
    "Reading",
    "Reported",
    "Row",
    "Setting",
    "defined",
    "group",
    "list_of",
    "read_table",
    "read_value",
    "rows_of",
    "setting",
    "simple",
    "text_map",
]

Table = TypeVar("Table")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Reported(Exception):
    """The value can't be read, and the problem is in the list already."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader of values needs to know beside its node.

    Attributes:
        folder: What relative paths of files start from; None: the working directory.
        namespace: Namespace of the entries, for bare names.
        known: Ids of all entries → their kinds.
        of_kind: Kinds → the ids of their entries.
        problems: Where problems are collected.
        where: The entry, for messages.
        label: The field, for messages, as in `timeouts.read`.
    """

    folder: Path | None
    namespace: str
    known: dict[str, str]
    problems: list[Problem]
    where: str = ""
    label: str = ""
    of_kind: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    def inside(self, label: str) -> "Reading":
        """The same, for a field of this field."""
        return replace(self, label=f"{self.label}.{label}" if self.label else label)

    def report(self, place: Place, message: str) -> None:
        """Add a problem with the field that is being read."""
        told = f"{self.label}: {message}" if self.label else message
        self.problems.append(Problem.at(place, self.where, told))


Absent = Callable[[Reading], Any]


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the value of a field, and knows how it is written.

    Attributes:
        read: Gives the value of a node; raises ValueError with the end of a message.
        schema: Gives the JSON Schema of the value.
        show: A value as it is written, for defaults.
    """

    read: Callable[[Node, Reading], Any]
    schema: Callable[[TableSchema], Schema]
    show: Callable[[Any], object]

    def __call__(self, node: Node, reading: Reading) -> Any:
        """Read a node; see `read`."""
        return self.read(node, reading)


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of a table.

    Attributes:
        read: Reader of the value.
        at: Key in the file, `meta.server` for a key in a group; empty: the field's own name.
        absent: Finds the value of an absent key among the other entries; None: the default.
    """

    read: Reader
    at: str = ""
    absent: Absent | None = None


def setting(read: Reader, at: str = "", absent: Absent | None = None) -> dict[str, Setting]:
    """The metadata that makes a dataclass field a row of its table; see Setting."""
    return {"setting": Setting(read, at, absent)}


def simple(read: Callable[..., Any], **arguments: Any) -> Reader:
    """A Reader of a function that needs the node alone."""
    form = form_of(read)
    return Reader(
        lambda node, reading: read(node, **arguments),
        lambda _: or_variable(form.schema(**arguments)),
        form.show,
    )


def group(table: type[Any]) -> Reader:
    """A Reader of a group of keys that is a table of its own."""
    return Reader(
        lambda node, reading: read_table(table, _mapping(node), reading),
        lambda schema_of: schema_of(table),
        lambda _: None,
    )


def list_of(read: Reader, example: str) -> Reader:
    """A Reader of a list; `example` shows a user how to write one."""

    def read_list(node: Node, reading: Reading) -> list[Any]:
        if not isinstance(node, Sequence):
            raise ValueError(f"must be a list, such as {example}, not {describe(node)}")
        return _all(lambda item: read_value(read, item, reading), node.items)

    return Reader(
        read_list,
        lambda schema_of: {"type": "array", "items": read.schema(schema_of)},
        lambda items: [read.show(item) for item in items],
    )


def defined(read: Reader, definition: str) -> Reader:
    """The same Reader with a schema that stands elsewhere: `#/$defs/<definition>`."""
    return replace(read, schema=lambda _: {"$ref": f"#/$defs/{definition}"})


def _read_text_map(node: Node, reading: Reading) -> dict[str, str]:
    def read_option(item: tuple[str, Pair]) -> tuple[str, str]:
        option, pair = item
        return option, read_value(simple(_option), pair.node, reading.inside(quoted(option)))

    return dict(_all(read_option, _mapping(node).pairs.items()))


text_map = Reader(_read_text_map, lambda _: {"type": "object"}, dict)
"""Options: texts by key. Numbers and booleans are taken as they are written."""


def read_value(read: Reader, node: Node, reading: Reading) -> Any:
    """The value of one node.

    Raises:
        Reported: it can't be read.
    """
    if isinstance(node, Scalar) and node.broken:
        raise Reported
    try:
        return read(node, reading)
    except ValueError as error:
        reading.report(node.place, str(error))
        raise Reported from None


def read_table(
    table: type[Table], mapping: Mapping, reading: Reading, skip: str = "", **ready: Any
) -> Table:
    """An object of the dataclass `table`, read from a mapping.

    Args:
        table: A dataclass whose fields have a Setting.
        mapping: The keys of the file.
        reading: Context of the readers.
        skip: A key that somebody else reads.
        ready: Values of fields that were read before; their keys are not looked at.

    Raises:
        Reported: something in it can't be read, is missing or unknown.
    """
    rows = rows_of(table)
    before = len(reading.problems)
    given = _given(mapping, [*rows, skip] if skip else list(rows), reading)
    results = {
        row.name: _result(row, given, mapping, reading)
        for row in rows.values()
        if row.name not in ready
    }
    if len(reading.problems) > before or _Outcome.FAILED in results.values():
        raise Reported
    kept = {name: value for name, value in results.items() if value is not _Outcome.DEFAULT}
    return table(**ready, **kept)


class _Outcome(Enum):
    DEFAULT = "the dataclass knows"
    FAILED = "a problem was reported"


@dataclass(frozen=True, slots=True)
class Row:
    """A field of a table.

    Attributes:
        name: In the dataclass.
        at: Key in the file, with dots for one in a group.
        setting: See Setting.
        default: None without one.
        required: Whether it has no default.
    """

    name: str
    at: str
    setting: Setting
    default: Any
    required: bool


def rows_of(table: type[Any]) -> dict[str, Row]:
    """The rows of a table by their key in the file."""
    return _rows(cast(Hashable, table))


@cache
def _rows(table: type[Any]) -> dict[str, Row]:
    rows = {}
    for column in dataclasses.fields(table):
        setting: Setting | None = column.metadata.get("setting")
        if setting is None:
            continue
        default: Any = None
        required = False
        if column.default is not dataclasses.MISSING:
            default = column.default
        elif column.default_factory is not dataclasses.MISSING:
            default = column.default_factory()
        else:
            required = True
        at = setting.at or column.name
        rows[at] = Row(column.name, at, setting, default, required)
    return rows


def _result(row: Row, given: dict[str, Node], mapping: Mapping, reading: Reading) -> Any:
    inner = reading.inside(row.at)
    try:
        if row.at in given:
            return read_value(row.setting.read, given[row.at], inner)
        if row.setting.absent is not None:
            return row.setting.absent(inner)
    except ValueError as error:
        inner.report(mapping.place, str(error))
        return _Outcome.FAILED
    except Reported:
        return _Outcome.FAILED
    if row.required:
        reading.report(mapping.place, f"missing field {quoted(row.at)}")
        return _Outcome.FAILED
    return _Outcome.DEFAULT


def _given(mapping: Mapping, known: Iterable[str], reading: Reading) -> dict[str, Node]:
    """The nodes of all known keys that have a value, those of a group as `meta.server`."""
    found: dict[str, Node] = {}
    for name, pair in mapping.pairs.items():
        inner = [at.removeprefix(f"{name}.") for at in known if at.startswith(f"{name}.")]
        if name in known and "." not in name:
            if not is_null(pair.node):
                found[name] = pair.node
        elif inner:
            group_reading = reading.inside(name)
            for at, node in _given_group(pair.node, inner, group_reading).items():
                found[f"{name}.{at}"] = node
        else:
            reading.report(pair.key_place, _unknown(name, known))
    return found


def _given_group(node: Node, known: list[str], reading: Reading) -> dict[str, Node]:
    if is_null(node):
        return {}
    try:
        return _given(_mapping(node), known, reading)
    except ValueError as error:
        reading.report(node.place, str(error))
        return {}


def _unknown(name: str, known: Iterable[str]) -> str:
    names = sorted({at.partition(".")[0] for at in known if at})
    others = f"the fields are {listed(names)}" if len(names) > 1 else f"the field is {names[0]}"
    hint = did_you_mean(name, names) or f"; {others}"
    return f"unknown field {quoted(name)}{hint}"


def _mapping(node: Node) -> Mapping:
    if isinstance(node, Mapping):
        return node
    raise ValueError(f'must be a group of keys with values ("key: value"), not {describe(node)}')


def _all(read: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """What `read` gives for each item; every item is read before the first failure is raised."""
    results = []
    failed = False
    for item in items:
        try:
            results.append(read(item))
        except Reported:
            failed = True
    if failed:
        raise Reported
    return results


def _option(node: Node) -> str:
    if not isinstance(node, Scalar):
        mend = '; write "one, two" for several' if isinstance(node, Sequence) else ""
        raise ValueError(f"must be a text, not {describe(node)}{mend}")
    if node.value is None:
        raise ValueError('has no value; write "" for an empty text')
    return node.text
