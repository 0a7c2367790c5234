"""References between entries: `namespace:name`, a bare `name`, or an import path.

All names of a file are known before the first entry is read, so a reference is settled where it
is read, and its problem has the place of the reference itself.
"""

from dataclasses import dataclass

from wsrelay._text import did_you_mean, listed, quoted
from wsrelay.config.fields import Absent, Reader, Reading
from wsrelay.config.locations import ImportPath, parse_import_path
from wsrelay.config.nodes import Node
from wsrelay.config.schema import or_variable
from wsrelay.config.values import text

__all__ = ["Reference", "cycle", "entry_of", "entry_or_import", "the_only"]

_MOST_NAMES = 500
_MOST_HINTS = 100
_MOST_SHOWN = 10

# A schema knows no other entries, so it can't tell a name from a wrong one.
_NAMED = or_variable({"type": "string", "pattern": r"^\S+$"})


@dataclass(frozen=True, slots=True)
class Reference:
    """What `func` or `process` names: an entry or an object to import, one of the two.

    Attributes:
        text: As written.
        id: Id of the entry, `namespace:name`; None for an import path.
        import_path: The object to import; None for an entry.
    """

    text: str
    id: str | None = None
    import_path: ImportPath | None = None

    def __str__(self) -> str:
        return self.text


def entry_of(kind: str) -> Reader:
    """A Reader of a reference to an entry of `kind`; it gives the entry's id."""

    def read_id(node: Node, reading: Reading) -> str:
        written = text(node)
        found = _find(written, kind, reading)
        if found is not None:
            return found
        hint = _neighbour(_bare(written), kind, reading) or _choices(kind, reading)
        raise ValueError(f"there is no {kind} {quoted(written)}{hint}")

    return Reader(read_id, lambda _: _NAMED, str)


def entry_or_import(kind: str) -> Reader:
    """A Reader of a reference to an entry of `kind` or to an object to import."""

    def read_reference(node: Node, reading: Reading) -> Reference:
        written = text(node)
        found = _find(written, kind, reading)
        if found is not None:
            return Reference(written, id=found)
        if ":" in written:
            return Reference(written, import_path=parse_import_path(written))
        hint = _neighbour(written, kind, reading)
        raise ValueError(
            f'{quoted(written)} is neither a {kind} nor an import path ("module:attribute"){hint}'
        )

    return Reader(read_reference, lambda _: _NAMED, str)


def the_only(kind: str, required: bool) -> Absent:
    """What an absent reference means: the only entry of `kind`.

    With several it must be written. With none it is None, or a problem if `required`.
    """

    def choose(reading: Reading) -> str | None:
        ids = _ids(kind, reading)
        if len(ids) == 1:
            return ids[0]
        if ids:
            names = _shown(ids, "or")
            raise ValueError(f"missing, and there are several {kind} entries; write {names}")
        if required:
            raise ValueError(f"missing, and there is no {kind} entry; add one")
        return None

    return choose


def cycle(edges: dict[str, list[str]]) -> list[str]:
    """A circle in a graph, its first node also last; empty if there is none.

    Args:
        edges: Node → the nodes that it leads to.
    """
    done: set[str] = set()
    for start in edges:
        # The way from `start` to where we are, with what is still to be tried at each stop.
        way = {start: iter(edges[start])}
        while way:
            here, after = next(reversed(way.items()))
            step = next((node for node in after if node not in done), None)
            if step is None:
                done.add(here)
                del way[here]
            elif step in way:
                nodes = list(way)
                return [*nodes[nodes.index(step) :], step]
            else:
                way[step] = iter(edges.get(step, ()))
    return []


def _find(written: str, kind: str, reading: Reading) -> str | None:
    """The id of the entry that is meant, or None if there is no entry of this name."""
    entry_id = written if ":" in written else f"{reading.namespace}:{written}"
    found = reading.known.get(entry_id)
    if found and found != kind:
        raise ValueError(f"{quoted(written)} is {_article(found)}, not {_article(kind)}")
    return entry_id if found is not None else None


def _article(kind: str) -> str:
    return f"an {kind}" if kind.startswith("http") else f"a {kind}"


def _bare(written: str) -> str:
    return written.rpartition(":")[2]


def _ids(kind: str, reading: Reading) -> list[str]:
    return reading.of_kind.get(kind, [])


def _neighbour(name: str, kind: str, reading: Reading) -> str:
    """`did_you_mean` among the entries of a kind. Not where it would be done for long: each name is
    compared with each, and a file may have thousands of both."""
    ids = _ids(kind, reading)
    if len(ids) > _MOST_NAMES or len(reading.problems) > _MOST_HINTS:
        return ""
    return did_you_mean(name, map(_bare, ids))


def _choices(kind: str, reading: Reading) -> str:
    ids = _ids(kind, reading)
    return f"; there is {_shown(ids, 'and')}" if ids else ""


def _shown(ids: list[str], last: str) -> str:
    """The first few names."""
    return listed([quoted(_bare(entry_id)) for entry_id in ids[:_MOST_SHOWN]], last)
