"""From a YAML file to a Config, or to one ConfigError with everything that is wrong."""

import os
from collections.abc import Callable
from collections.abc import Mapping as Environment
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from wsrelay._text import did_you_mean, listed, quoted
from wsrelay.config import values
from wsrelay.config.entries import KINDS, Entry, ProcessService
from wsrelay.config.fields import Reading, Reported, read_table, read_value, simple
from wsrelay.config.nodes import Mapping, Marks, Node, Scalar, Sequence, describe, is_null
from wsrelay.config.problems import Problem
from wsrelay.config.references import cycle
from wsrelay.errors import ConfigError

__all__ = ["Config", "load_file", "load_text", "read_file"]

VERSION = "1.0"
_TOP = ("version", "namespace", "entries")
_Kind = TypeVar("_Kind", bound=Entry)


@dataclass
class Config:
    """A configuration that was read and checked.

    Attributes:
        namespace: Namespace of all entries.
        version: Version of the format, `1.0`.
        entries: In the order of the file.
        folder: Folder of the file, where relative imports and paths start; None for a text.
    """

    namespace: str
    version: str = VERSION
    entries: list[Entry] = field(default_factory=list)
    folder: Path | None = None

    def of(self, kind: type[_Kind]) -> list[_Kind]:
        """The entries of one kind, as `config.of(HTTPRouter)`, in the order of the file."""
        return [entry for entry in self.entries if isinstance(entry, kind)]

    def get(self, entry_id: str) -> Entry | None:
        """The entry of an id, `namespace:name`."""
        return next((entry for entry in self.entries if entry.id == entry_id), None)


def load_file(
    path: str | os.PathLike[str], *, environment: Environment[str, str] | None = None
) -> Config:
    """Read a configuration file.

    Args:
        path: The file; messages name it as it is written here.
        environment: Variables for `${env:…}`; by default those of the operating system.

    Raises:
        ConfigError: all that is wrong, each problem with its place. A file that can't be read is
            one of them.
    """
    return _right(*read_file(path, environment=environment))


def read_file(
    path: str | os.PathLike[str], *, environment: Environment[str, str] | None = None
) -> tuple[Config, list[Problem]]:
    """Read what can be read of a configuration file, for whoever looks for more that is wrong.

    Args:
        path, environment: As in load_file.

    Returns:
        The configuration, without the entries that can't be read, and all that is wrong so far.
    """
    name = os.fspath(path)
    # The folder must hold even if the working directory changes later.
    folder = Path(name).absolute().parent
    try:
        return _read(_content(name), name, folder, environment)
    except ConfigError as error:
        return Config("", folder=folder), error.problems


def load_text(
    text: str, filename: str = "<string>", *, environment: Environment[str, str] | None = None
) -> Config:
    """Read a configuration from a text; `folder` is then None.

    Args:
        text: YAML.
        filename: What messages call it.
        environment: As in load_file.

    Raises:
        ConfigError: all that is wrong, each problem with its place.
    """
    return _right(*_read(text, filename, None, environment))


def _right(config: Config, problems: list[Problem]) -> Config:
    if problems:
        raise ConfigError(problems)
    return config


def _content(name: str) -> bytes:
    # Only now, so that an App made in code never imports a YAML reader.
    from wsrelay.config.yaml import MAX_BYTES

    try:
        with open(name, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = f"can't be read: {error.strerror or error}"
    except ValueError:
        reason = "can't be read: not the name of a file"
    raise ConfigError([Problem(name, None, None, "", reason)])


def _read(
    data: bytes | str,
    filename: str,
    folder: Path | None,
    environment: Environment[str, str] | None,
) -> tuple[Config, list[Problem]]:
    from wsrelay.config.yaml import compose

    variables = os.environ if environment is None else environment
    document = compose(data, filename, variables)
    if document.root is None:
        return Config("", folder=folder), document.problems
    return _config(document.root, folder, document.problems), document.problems


@dataclass(slots=True)
class _Head:
    """What must be known of every entry before the first one is read."""

    node: Mapping
    where: str
    position: int
    table: type[Entry] | None
    name: str | None

    @property
    def label(self) -> str:
        """The name; without a readable one, a stand-in that no entry can have."""
        return self.name or f"entry {self.position}"


def _config(root: Mapping, folder: Path | None, problems: list[Problem]) -> Config:
    top = Reading(folder, "", {}, problems)
    _check_keys(root, top)
    _required(root, "version", _version, top)
    # Without a namespace bare references still find their entries, so only its lack is told.
    namespace = _required(root, "namespace", values.name, top) or ""
    heads = _heads(root, top)
    known = _known(heads, namespace, top)
    of_kind: dict[str, list[str]] = {}
    for entry_id, kind in known.items():
        of_kind.setdefault(kind, []).append(entry_id)
    reading = replace(top, namespace=namespace, known=known, of_kind=of_kind)
    entries = [entry for head in heads if (entry := _entry(head, reading)) is not None]
    _check_requires(entries, problems)
    return Config(namespace, VERSION, entries, folder)


def _check_keys(root: Mapping, reading: Reading) -> None:
    for name, pair in root.pairs.items():
        if name not in _TOP:
            hint = did_you_mean(name, _TOP) or f"; the fields are {listed(_TOP)}"
            reading.report(pair.key_place, f"unknown field {quoted(name)}{hint}")


def _version(node: Node) -> str:
    # Unquoted, 1.0 is a number; the text as written is what counts.
    value = values.scalar(node, f"{quoted(VERSION)}")
    if value != VERSION:
        raise ValueError(f"must be {quoted(VERSION)}, not {quoted(value)}")
    return value


def _items(root: Mapping, reading: Reading) -> list[Node]:
    pair = root.pairs.get("entries")
    if pair is None or is_null(pair.node):
        reading.report(root.place, 'missing field "entries"; write "entries: []" for none')
        return []
    node = pair.node
    if isinstance(node, Sequence):
        return node.items
    if not _is_broken(node):
        reading.report(node.place, f"entries: must be a list of entries, not {describe(node)}")
    return []


def _heads(root: Mapping, top: Reading) -> list[_Head]:
    heads = []
    for position, node in enumerate(_items(root, top), start=1):
        if isinstance(node, Mapping):
            heads.append(_head(node, position, top))
        elif not _is_broken(node):
            message = f'must be a group of keys such as "name" and "kind", not {describe(node)}'
            replace(top, where=f"entry {position}").report(node.place, message)
    return heads


def _head(node: Mapping, position: int, top: Reading) -> _Head:
    reading = replace(top, where=_where(node, position))
    kind = _required(node, "kind", _known_kind, reading)
    name = _required(node, "name", values.name, reading)
    table = KINDS[kind] if kind is not None else None
    return _Head(node, reading.where, position, table, name)


def _where(node: Mapping, position: int) -> str:
    """The entry in messages, with as much of kind and name as it has."""
    kind, name = _text(node, "kind"), _text(node, "name")
    if kind not in KINDS:
        return f"entry {quoted(name)}" if name else f"entry {position}"
    return f"{kind} {quoted(name)}" if name else f"{kind}, entry {position}"


def _text(node: Mapping, key: str) -> str:
    pair = node.pairs.get(key)
    return pair.node.text if pair and isinstance(pair.node, Scalar) else ""


def _known_kind(node: Node) -> str:
    kind = values.text(node)
    if kind not in KINDS:
        hint = did_you_mean(kind, KINDS) or f"; the kinds are {listed(KINDS)}"
        raise ValueError(f"there is no kind {quoted(kind)}{hint}")
    return kind


def _known(heads: list[_Head], namespace: str, reading: Reading) -> dict[str, str]:
    """The ids of all entries with their kinds; a name that is used twice is reported.

    An entry whose own kind can't be read has the kind "": references to it are not its fault.
    """
    first: dict[str, _Head] = {}
    for head in heads:
        earlier = first.setdefault(head.label, head)
        if earlier is not head:
            place = head.node.pairs["name"].node.place
            message = f"the name is taken by {earlier.where} at {earlier.node.place}"
            replace(reading, where=head.where).report(place, message)
    return {
        f"{namespace}:{label}": head.table.kind if head.table else ""
        for label, head in first.items()
    }


def _entry(head: _Head, reading: Reading) -> Entry | None:
    if head.table is None:
        return None
    try:
        return read_table(
            head.table,
            head.node,
            replace(reading, where=head.where),
            skip="kind",
            name=head.label,
            namespace=reading.namespace,
            marks=Marks(head.node),
        )
    except Reported:
        return None


def _check_requires(entries: list[Entry], problems: list[Problem]) -> None:
    services = {entry.id: entry for entry in entries if isinstance(entry, ProcessService)}
    circle = cycle({name: entry.lifecycle.requires for name, entry in services.items()})
    if circle:
        names = " → ".join(quoted(services[name].name) for name in circle)
        message = f"lifecycle.requires: {names} is a circle; one of them must start first"
        problems.append(services[circle[0]].problem(message, "lifecycle", "requires"))


def _required(
    mapping: Mapping, key: str, read: Callable[[Node], str], reading: Reading
) -> str | None:
    """The text under a key that must be there; None after a problem."""
    pair = mapping.pairs.get(key)
    if pair is None or is_null(pair.node):
        reading.report(mapping.place, f"missing field {quoted(key)}")
        return None
    try:
        value: str = read_value(simple(read), pair.node, reading.inside(key))
    except Reported:
        return None
    return value


def _is_broken(node: Node) -> bool:
    return isinstance(node, Scalar) and node.broken
