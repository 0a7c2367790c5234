"""YAML with places: a small, strict subset, read over PyYAML's scanner and parser.

What it decides:

- Plain scalars: `true` and `false` are the only booleans (`on`, `off`, `yes`, `no`, `True` are
  texts); `null`, `~` and nothing are null; decimal numbers without leading zeros are numbers.
  `010`, `0x10`, `1:30`, `1_000`, `.inf` and dates are texts (docs/configuration-traps.md has
  all of them).
- Keys are texts as written. A key given twice is an error.
- Anchors and aliases work; an anchor is defined once and can't hold an alias of itself. Merge keys
  (`<<`) are refused: which of two values wins should be seen in the file, not looked up. Tags
  (`!name`, `!!str`) are refused.
- `${env:NAME|default}` is replaced in values, not in keys, before typing; what results is a text,
  and readers of numbers take texts.
- Bounds: 1 MiB of text, 50 levels, 50,000 nodes, an alias counting as all that it stands for.

PyYAML's pure Python parser is used even where the C one is there: a configuration is read once,
and the words and places of its errors must not depend on how PyYAML was built.
"""

import re
from collections.abc import Mapping as Environment
from dataclasses import dataclass, field
from typing import Any

from yaml.error import MarkedYAMLError
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.scanner import Scanner

from wsrelay._text import quoted
from wsrelay.config.environment import substitute
from wsrelay.config.nodes import Mapping, Node, Scalar, Sequence, describe
from wsrelay.config.problems import Place, Problem

__all__ = ["MAX_BYTES", "Document", "compose"]

MAX_BYTES = 1024 * 1024
_MAX_DEPTH = 50
_MAX_NODES = 50_000

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})\.[0-9]{1,40}([eE][-+]?[0-9]{1,2})?")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}

# How PyYAML's complaint begins → our words, and whether the place to mend is where the construct
# began rather than where PyYAML gave up.
_SYNTAX: tuple[tuple[str, str, bool], ...] = (
    ("found character '\\t'", "a tab; use spaces", False),
    ("found character", "a text that begins with this character needs quotes", False),
    ("mapping values are not allowed", 'a second ":" on this line; quote a text with ":"', False),
    ("could not find expected ':'", 'a key without its ":"', True),
    ("expected <block end>", "wrong indentation, or text after a closing quote", False),
    ("found unexpected end of stream", "a quote that is never closed", True),
    ("expected ',' or ']'", 'a "[" that is never closed, or a missing ","', True),
    ("expected ',' or '}'", 'a "{" that is never closed, or a missing ","', True),
    ("found unknown escape", 'an unknown "\\" escape; use single quotes for a plain "\\"', False),
    ("sequence entries are not allowed", 'a "-" where no list can begin', False),
    ("expected the node content", "a value is missing here", False),
    ("expected '<document start>'", "text after the end of the document", False),
)


class _Events(Reader, Scanner, Parser):
    """PyYAML's pure Python event stream over a text."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)


class _Unreadable(Exception):
    def __init__(self, problem: Problem) -> None:
        self.problem = problem


@dataclass(slots=True)
class Document:
    """What a YAML text holds, as far as it could be read.

    Attributes:
        root: The top mapping; None if there is none, and then `problems` says why.
        problems: Everything wrong with the text itself, in the order in which it was found.
    """

    root: Mapping | None = None
    problems: list[Problem] = field(default_factory=list)


def compose(data: bytes | str, file: str | None, environment: Environment[str, str]) -> Document:
    """Read one YAML document.

    Args:
        data: The text; bytes are UTF-8, with or without a byte order mark.
        file: The name that places carry.
        environment: Variables for `${env:…}`.

    Returns:
        A Document; whatever is wrong with the text is a Problem in it, nothing is raised.
    """
    document = Document()
    try:
        composer = _Composer(_decoded(data, file), file, environment, document.problems)
        document.root = composer.document()
    except _Unreadable as unreadable:
        document.problems.append(unreadable.problem)
    return document


def _decoded(data: bytes | str, file: str | None) -> str:
    if len(data) > MAX_BYTES:
        raise _Unreadable(Problem(file, None, None, "", "larger than 1 MiB; split it"))
    if isinstance(data, str):
        return data.removeprefix("\ufeff")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # utf-8-sig counts from after the byte order mark.
        body = data.removeprefix(b"\xef\xbb\xbf")
        before = body[: error.start].decode("utf-8", "replace")
        message = f"byte 0x{body[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise _Unreadable(Problem.at(_place_after(before, file), "", message)) from None


def _place_after(before: str, file: str | None) -> Place:
    lines = before.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return Place(file, len(lines), len(lines[-1]) + 1)


@dataclass(slots=True)
class _Anchor:
    """The node under a name; None as long as it is still being read."""

    node: Node | None = None


class _Composer:
    """Turns events into nodes: one pass, bounded in depth and in nodes."""

    def __init__(
        self,
        text: str,
        file: str | None,
        environment: Environment[str, str],
        problems: list[Problem],
    ) -> None:
        self._text = text
        self._file = file
        self._environment = environment
        self._problems = problems
        self._anchors: dict[str, _Anchor] = {}
        self._nodes = 0
        self._events: Any = None  # PyYAML's stubs leave events untyped

    def document(self) -> Mapping | None:
        try:
            self._events = _Events(self._text)
            return self._only_document()
        except MarkedYAMLError as error:
            raise _Unreadable(self._syntax(error)) from None
        except ReaderError as error:
            place = _place_after(self._text[: error.position], self._file)
            message = f"the character U+{ord(self._text[error.position]):04X} is not allowed here"
            raise _Unreadable(Problem.at(place, "", message)) from None
        except (ValueError, OverflowError):
            # PyYAML trips over numbers in escapes ("\UFFFFFFFF") and directives (%YAML 1.<many>).
            place = self._place(self._events.get_mark())
            message = "a number that is too large, in an escape or a directive"
            raise _Unreadable(Problem.at(place, "", message)) from None

    def _only_document(self) -> Mapping | None:
        events = self._events
        events.get_event()  # the start of the stream
        if events.check_event(StreamEndEvent):
            self._problems.append(Problem(self._file, None, None, "", "the file is empty"))
            return None
        events.get_event()  # the start of the document
        root = self._node(0)
        events.get_event()  # its end
        if events.check_event(DocumentStartEvent):
            place = self._place(events.peek_event().start_mark)
            self._report(place, "a second document; a file holds one")
        if isinstance(root, Mapping):
            return root
        self._report(root.place, f'the file must hold keys such as "entries", not {describe(root)}')
        return None

    def _node(self, depth: int) -> Node:
        event = self._events.get_event()
        place = self._place(event.start_mark)
        if isinstance(event, AliasEvent):
            return self._alias(event.anchor, place, depth)
        self._check_depth(depth, place)
        self._count(1, place)
        anchor = self._anchor(event, place)
        node = self._content(event, place, depth)
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!", 1)
            self._report(place, f"the tag {quoted(tag)} is refused; write plain YAML")
        if anchor is not None:
            anchor.node = node
        return node

    def _content(self, event: NodeEvent, place: Place, depth: int) -> Node:
        if isinstance(event, ScalarEvent):
            return self._scalar(event, place)
        if isinstance(event, SequenceStartEvent):
            return self._sequence(place, depth)
        return self._mapping(place, depth)

    def _sequence(self, place: Place, depth: int) -> Sequence:
        sequence = Sequence(place)
        while not self._events.check_event(SequenceEndEvent):
            item = self._node(depth + 1)
            sequence.add(item)
        self._events.get_event()
        return sequence

    def _mapping(self, place: Place, depth: int) -> Mapping:
        mapping = Mapping(place)
        while not self._events.check_event(MappingEndEvent):
            key = self._key(depth)
            value = self._node(depth + 1)
            if key is not None:
                self._add(mapping, key, value)
        self._events.get_event()
        return mapping

    def _key(self, depth: int) -> Scalar | None:
        event = self._events.peek_event()
        if isinstance(event, ScalarEvent):
            self._events.get_event()
            place = self._place(event.start_mark)
            self._count(1, place)
            if event.anchor is not None or event.tag is not None:
                self._report(place, "a key can't have an anchor or a tag")
            return Scalar(place, event.value, event.value)
        node = self._node(depth + 1)
        self._report(node.place, "a key must be a plain or quoted text")
        return None

    def _add(self, mapping: Mapping, key: Scalar, value: Node) -> None:
        first = mapping.pairs.get(key.text)
        if key.text == "<<":
            self._report(key.place, 'merge keys ("<<") are refused; write the keys out')
        elif first is not None:
            line = first.key_place.line
            self._report(
                key.place, f"duplicate key {quoted(key.text)}; the first is in line {line}"
            )
        else:
            mapping.add(key, value)

    def _scalar(self, event: ScalarEvent, place: Place) -> Scalar:
        text = event.value
        plain = event.implicit[0]
        try:
            if "${" in text:
                text, plain = substitute(text, self._environment), False
            if not _is_unicode(text):
                raise ValueError("half of a surrogate pair; write the whole character")
        except ValueError as error:
            self._report(place, str(error))
            return Scalar(place, "", "", broken=True)
        return Scalar(place, text, _typed(text) if plain else text, broken=event.tag is not None)

    def _anchor(self, event: NodeEvent, place: Place) -> _Anchor | None:
        if event.anchor is None:
            return None
        if event.anchor in self._anchors:
            self._report(place, f"the anchor {quoted('&' + event.anchor)} is defined twice")
        return self._anchors.setdefault(event.anchor, _Anchor())

    def _alias(self, name: Any, place: Place, depth: int) -> Node:
        anchor = self._anchors.get(name)
        if anchor is None:
            raise self._stop(place, f"the alias {quoted('*' + name)} has no anchor above it")
        if anchor.node is None:
            raise self._stop(place, f"the alias {quoted('*' + name)} stands inside its own anchor")
        self._count(anchor.node.size, place)
        self._check_depth(depth + anchor.node.height, place)
        return anchor.node

    def _count(self, nodes: int, place: Place) -> None:
        self._nodes += nodes
        if self._nodes > _MAX_NODES:
            raise self._stop(place, f"more than {_MAX_NODES} values, aliases written out")

    def _check_depth(self, depth: int, place: Place) -> None:
        if depth >= _MAX_DEPTH:
            raise self._stop(place, f"more than {_MAX_DEPTH} levels, aliases written out")

    def _place(self, mark: Any) -> Place:
        return Place(self._file, mark.line + 1, mark.column + 1)

    def _report(self, place: Place, message: str) -> None:
        self._problems.append(Problem.at(place, "", message))

    def _stop(self, place: Place, message: str) -> _Unreadable:
        return _Unreadable(Problem.at(place, "", message))

    def _syntax(self, error: MarkedYAMLError) -> Problem:
        complaint = error.problem or error.context or "unreadable"
        mark = error.problem_mark or error.context_mark
        message = f"not YAML: {complaint}"
        for start, words, at_context in _SYNTAX:
            if complaint.startswith(start):
                message = words
                mark = (error.context_mark or mark) if at_context else mark
                break
        return Problem.at(self._place(mark) if mark else Place(self._file, 1, 1), "", message)


def _is_unicode(text: str) -> bool:
    # Escapes such as "\ud83d", and undecodable bytes in the environment, make surrogates.
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _typed(text: str) -> str | int | float | bool | None:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
