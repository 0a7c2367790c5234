"""Values of fields: from the text in the file to the type in the entry.

Each reader takes a node and returns the value, or raises ValueError with the end of a message,
which the caller puts behind the name of the field. Numbers and booleans are read from the text, so
that one that comes from the environment, or stands in quotes, is as good as a plain one.
"""

import re

from wsrelay._text import listed, quoted
from wsrelay.config.durations import (
    DURATION,
    SIZE,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)
from wsrelay.config.locations import (
    Address,
    ImportPath,
    Proxy,
    parse_address,
    parse_import_path,
    parse_proxy,
)
from wsrelay.config.nodes import Node, Scalar, describe
from wsrelay.config.schema import written

_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_WHOLE = re.compile(r"0|[1-9][0-9]{0,17}")
_NUMBER = re.compile(r"(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?")
_OCTAL = re.compile(r"0+[0-9]")
_METHOD = re.compile(r"[A-Z0-9!#$%&'*+.^_`|~-]+")
_DOTTED = r"[^\s.:]+(\.[^\s.:]+)*"
_ADDRESS = r"^(unix:/.*|[^\s/]*:[0-9]{1,5})$"


def _full(pattern: re.Pattern[str]) -> str:
    return f"^({pattern.pattern})$"


def text(node: Node) -> str:
    """A text; a number or a boolean is refused, for it is most likely a slip."""
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return node.value
    is_written = isinstance(node, Scalar) and node.value is not None
    mend = "; put it in quotes" if is_written else ""
    raise ValueError(f"must be a text, not {describe(node)}{mend}")


def scalar(node: Node, kind: str) -> str:
    """The text of a single value of any type; `kind` is what the field wants, for the message."""
    if isinstance(node, Scalar) and node.value is not None:
        return node.text
    raise ValueError(f"must be {kind}, not {describe(node)}")


@written(lambda: {"type": "string", "pattern": _full(_NAME)})
def name(node: Node) -> str:
    """The name of an entry or a namespace."""
    value = text(node)
    if not _NAME.fullmatch(value):
        raise ValueError(f'{quoted(value)} may only have letters, digits, "_", "-" and "."')
    return value


def middleware(node: Node) -> str:
    """The name of a middleware, or the import path of one's own."""
    value = text(node)
    if ":" in value:
        return str(parse_import_path(value))
    return name(node)


@written(lambda: {"type": ["boolean", "string"], "pattern": "^(true|false)$"})
def boolean(node: Node) -> bool:
    """`true` or `false`."""
    value = scalar(node, "true or false")
    if value not in ("true", "false"):
        raise ValueError(f"must be true or false, not {quoted(value)}")
    return value == "true"


@written(lambda least: {"type": ["integer", "string"], "minimum": least, "pattern": _full(_WHOLE)})
def whole(node: Node, least: int) -> int:
    """A whole number, at least `least`."""
    value = _decimal(scalar(node, "a whole number"))
    if not _WHOLE.fullmatch(value) or int(value) < least:
        raise ValueError(f"must be a whole number from {least} up, not {quoted(value)}")
    return int(value)


@written(
    lambda least, most: {
        "type": ["number", "string"],
        "minimum": least,
        "maximum": most,
        "pattern": _full(_NUMBER),
    }
)
def number(node: Node, least: float, most: float) -> float:
    """A decimal number in a range."""
    value = _decimal(scalar(node, "a number"))
    if not _NUMBER.fullmatch(value) or not least <= float(value) <= most:
        raise ValueError(f"must be a number from {least:g} to {most:g}, not {quoted(value)}")
    return float(value)


@written(lambda: DURATION, show=format_duration)
def duration(node: Node) -> float:
    """A Go duration that is not negative, in seconds."""
    value = scalar(node, "a duration")
    result = parse_duration(value)
    if result < 0:
        raise ValueError(f"{quoted(value)} is negative")
    return result


@written(lambda least: {**SIZE, "minimum": least}, show=format_size)
def size(node: Node, least: int) -> int:
    """A size in bytes, at least `least`."""
    value = _decimal(scalar(node, "a size"))
    result = parse_size(value)
    if result < least:
        raise ValueError(f"must be a size from {least} up, not {quoted(value)}")
    return result


@written(lambda choices: {"enum": list(choices)})
def choice(node: Node, choices: tuple[str, ...]) -> str:
    """One of a few words."""
    value = scalar(node, listed(choices, "or"))
    if value not in choices:
        raise ValueError(f"must be {listed(choices, 'or')}, not {quoted(value)}")
    return value


@written(lambda: {"type": "string", "pattern": _ADDRESS}, show=str)
def address(node: Node) -> Address:
    """An address to listen on; a bare port is not one."""
    return parse_address(scalar(node, "an address"))


@written(lambda: {"type": "string"}, show=str)
def proxy(node: Node) -> Proxy:
    """An IP address or subnet, or `unix`."""
    return parse_proxy(scalar(node, "an IP address or subnet"))


@written(
    lambda: {"type": "string", "pattern": _full(_METHOD), "examples": ["GET", "POST", "DELETE"]}
)
def method(node: Node) -> str:
    """An HTTP method in capitals."""
    value = text(node)
    if _METHOD.fullmatch(value):
        return value
    if _METHOD.fullmatch(value.upper()):
        raise ValueError(f"{quoted(value)} must be in capitals; write {quoted(value.upper())}")
    raise ValueError(f'{quoted(value)} is not one HTTP method, such as "GET"')


@written(lambda: {"type": "string", "pattern": "^/"})
def path(node: Node) -> str:
    """A path of a URL; its parameters are the router's to check."""
    value = text(node)
    if not value.startswith("/"):
        raise ValueError(f'{quoted(value)} must begin with "/"')
    return value


@written(lambda: {"type": "string", "pattern": "^(/|$)"})
def prefix(node: Node) -> str:
    """A path, or nothing."""
    return "" if text(node) == "" else path(node)


@written(lambda: {"type": "string", "pattern": r"^(?!\.\.?$)[^/\\]+$"})
def file_name(node: Node) -> str:
    """The name of a file in a folder that is named elsewhere."""
    value = text(node)
    if not value or "/" in value or "\\" in value or value in (".", ".."):
        raise ValueError(f"{quoted(value)} must be the name of a file, without a folder")
    return value


@written(lambda: {"type": "string", "minLength": 1}, show=str)
def non_empty(node: Node) -> str:
    """A text of at least one character, without NUL, so fit to name a file."""
    value = text(node)
    if not value or "\0" in value:
        raise ValueError(f"{quoted(value)} can't name a file")
    return value


@written(lambda: {"type": "string", "pattern": rf"^{_DOTTED}:{_DOTTED}$"}, show=str)
def import_path(node: Node) -> ImportPath:
    """`package.module:attribute`."""
    return parse_import_path(text(node))


def _decimal(value: str) -> str:
    """The text of a number, if it can't pass for an octal one."""
    if _OCTAL.match(value):
        mended = value.lstrip("0") or "0"
        raise ValueError(
            f"{quoted(value)} begins with 0, which some read as octal; write {quoted(mended)}"
        )
    return value
