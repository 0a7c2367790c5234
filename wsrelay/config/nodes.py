"""The tree of a YAML file, with the place of every key and value.

It knows nothing of PyYAML, so that typed entries can hold it without importing a YAML reader.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from wsrelay.config.problems import Place

__all__ = ["Mapping", "Marks", "Node", "Pair", "Scalar", "Sequence", "describe", "is_null", "plain"]


@dataclass(slots=True, eq=False)
class Scalar:
    """A single value.

    Attributes:
        place: Where it begins.
        text: As written, with `${env:…}` replaced.
        value: The typed value; a `str` for whatever was quoted or came from the environment.
        broken: A problem was already reported here, so nobody need look at the value.
        size, height: As in Sequence.
    """

    place: Place
    text: str
    value: str | int | float | bool | None
    broken: bool = False
    size: int = 1
    height: int = 0


@dataclass(slots=True, eq=False)
class Sequence:
    """A list.

    Attributes:
        place: Where it begins.
        items: Its values.
        size: The number of nodes in it, each alias counted as all that it stands for.
        height: The levels below it.
    """

    place: Place
    items: "list[Node]" = field(default_factory=list)
    size: int = 1
    height: int = 0

    def add(self, item: "Node") -> None:
        """Append a value that is complete."""
        self.items.append(item)
        self.size += item.size
        self.height = max(self.height, item.height + 1)


@dataclass(slots=True, eq=False)
class Pair:
    """A value and the place of its key."""

    key_place: Place
    node: "Node"


@dataclass(slots=True, eq=False)
class Mapping:
    """Keys, which are texts, with their values, in the order of the file; else like Sequence."""

    place: Place
    pairs: dict[str, Pair] = field(default_factory=dict)
    size: int = 1
    height: int = 0

    def add(self, key: Scalar, value: "Node") -> None:
        """Set a key to a value that is complete."""
        self.pairs[key.text] = Pair(key.place, value)
        self.size += value.size + 1
        self.height = max(self.height, value.height + 1)


Node = Scalar | Sequence | Mapping


def is_null(node: Node) -> bool:
    """Whether the value is `null`, `~` or nothing at all."""
    return isinstance(node, Scalar) and node.value is None and not node.broken


def describe(node: Node) -> str:
    """What a node is, for messages: `a list`, `a number`, …"""
    if isinstance(node, Sequence):
        return "a list"
    if isinstance(node, Mapping):
        return "a group of keys"
    if node.value is None:
        return "nothing"
    if isinstance(node.value, bool):
        return node.text
    return "a text" if isinstance(node.value, str) else "a number"


def plain(node: Node) -> object:
    """The value as dicts, lists and scalars."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return {key: plain(pair.node) for key, pair in node.pairs.items()}


@dataclass(slots=True, eq=False)
class Marks:
    """Finds the place of a field or option in the mapping that an entry was read from."""

    root: Mapping

    def place(self, *path: str | int, value: bool = False) -> Place:
        """The place of the key at `path`, or of its value.

        Args:
            path: Keys, and positions in lists (from 0), from the entry inwards.
            value: The place of the value rather than that of the key.

        Returns:
            The place of the longest part of `path` that the file has; at worst the entry's own.
        """
        found = self.root.place
        for key_place, node in self._along(path):
            found = node.place if value else key_place
        return found

    def _along(self, path: tuple[str | int, ...]) -> "Iterator[tuple[Place, Node]]":
        node: Node = self.root
        for step in path:
            if isinstance(node, Mapping) and step in node.pairs:
                pair = node.pairs[str(step)]
                key_place, node = pair.key_place, pair.node
            elif isinstance(node, Sequence) and step in range(len(node.items)):
                node = node.items[int(step)]
                key_place = node.place
            else:
                return
            yield key_place, node
