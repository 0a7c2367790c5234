"""Header fields and query parameters: mappings in which a name may occur several times."""

import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from functools import lru_cache
from urllib.parse import parse_qsl

__all__ = [
    "HeaderPairs",
    "Headers",
    "MutableHeaders",
    "QueryParams",
    "add_vary",
    "has_token",
    "index_fields",
    "is_token",
    "list_tokens",
]

HeaderPairs = Mapping[str, str | bytes] | Iterable[tuple[str | bytes, str | bytes]]
"""What every `headers` argument takes: a mapping, or pairs where a name may repeat."""

MEMORABLE = 64  # bytes of a value that is worth the memory: clients send one of a few

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def is_token(value: bytes) -> bool:
    """Whether a value is a token (RFC 9110 5.6.2)."""
    return _TOKEN.fullmatch(value) is not None


def _name(text: str) -> bytes:
    # A character outside latin-1 becomes "?", which no field name has: never a false match.
    return text.lower().encode("latin-1", "replace")


class Headers(Mapping[str, str]):
    """The header fields of a request, immutable; names are matched in any case.

    Values stay bytes until one is asked for, and are decoded as latin-1 (RFC 9110 5.5).

    Args:
        fields: a mapping, or pairs of names and values in their order.
    """

    __slots__ = ("_index", "raw")

    raw: list[tuple[bytes, bytes]]
    """Pairs in the order of arrival: name in lower case, value without surrounding blanks."""

    def __init__(self, fields: HeaderPairs = ()) -> None:
        pairs = MutableHeaders(fields).raw
        self.raw = [(name.lower(), value) for name, value in pairs]
        self._index = index_fields(self.raw)

    @classmethod
    def indexed(cls, raw: list[tuple[bytes, bytes]], index: dict[bytes, list[bytes]]) -> "Headers":
        """Wrap fields that are checked and indexed already; both arguments are kept, not copied."""
        headers = cls.__new__(cls)
        headers.raw = raw
        headers._index = index
        return headers

    def values_of(self, name: bytes) -> list[bytes]:
        """All values of a field as bytes; `name` in lower case. The list is not to be changed."""
        return self._index.get(name, [])

    def getlist(self, name: str) -> list[str]:
        """All values of a field, in their order; none: an empty list."""
        return [value.decode("latin-1") for value in self.values_of(_name(name))]

    def __getitem__(self, name: str) -> str:
        try:
            return self._index[_name(name)][0].decode("latin-1")
        except KeyError:
            raise KeyError(name) from None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _name(name) in self._index

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._index)

    def __len__(self) -> int:
        return len(self._index)

    def __repr__(self) -> str:
        return f"Headers({self.raw!r})"


def index_fields(raw: Iterable[tuple[bytes, bytes]]) -> dict[bytes, list[bytes]]:
    """Gather pairs whose names are in lower case by name, in their order."""
    index: dict[bytes, list[bytes]] = {}
    for name, value in raw:
        if name in index:
            index[name].append(value)
        else:
            index[name] = [value]
    return index


class MutableHeaders(MutableMapping[str, str]):
    """The header fields of a response.

    A value is `str` (sent as UTF-8) or bytes (sent as they are). A name that is no token, and a
    value with CR, LF, NUL or another control character, are refused where they enter, so that no
    echo of a client's text can split a response.

    Args:
        fields: a mapping, or pairs; a name may repeat.

    Raises:
        ValueError: from every way in, as above; the message shows the name, never the value.
    """

    __slots__ = ("raw",)

    raw: list[tuple[bytes, bytes]]
    """Pairs as they go out, names spelled as they were given."""

    def __init__(self, fields: HeaderPairs | None = None) -> None:
        self.raw = []
        if fields is not None:
            if not isinstance(fields, list) and isinstance(fields, Mapping):
                fields = fields.items()
            for name, value in fields:
                self.append(name, value)

    def append(self, name: str | bytes, value: str | bytes) -> None:
        """Add a field and keep those of the same name (`Set-Cookie`, `Vary`)."""
        self.raw.append(_checked(name, value))

    add = append

    def values_of(self, name: bytes) -> list[bytes]:
        """All values of a field as bytes; `name` in lower case."""
        return [value for key, value in self.raw if key.lower() == name]

    def getlist(self, name: str) -> list[str]:
        """All values of a field, in their order."""
        return [_text(value) for value in self.values_of(_name(name))]

    def __getitem__(self, name: str) -> str:
        values = self.values_of(_name(name))
        if not values:
            raise KeyError(name)
        return _text(values[0])

    def __setitem__(self, name: str, value: str | bytes) -> None:
        pair = _checked(name, value)
        self._discard(pair[0].lower())
        self.raw.append(pair)

    def __delitem__(self, name: str) -> None:
        if not self._discard(_name(name)):
            raise KeyError(name)

    def setdefault(self, name: str, default: str | bytes = "") -> str:
        """Set a field unless there is one, and return the value that is in force."""
        if name not in self:
            self[name] = default
        return self[name]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.values_of(_name(name)))

    def __iter__(self) -> Iterator[str]:
        return iter({name.lower().decode("ascii"): None for name, _ in self.raw})

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self.raw})

    def __repr__(self) -> str:
        return f"MutableHeaders({self.raw!r})"

    def take(self, name: bytes) -> list[bytes]:
        """Remove a field; all values that it had, as bytes. `name` in lower case."""
        values: list[bytes] = []
        kept: list[tuple[bytes, bytes]] = []
        for pair in self.raw:
            if pair[0].lower() == name:
                values.append(pair[1])
            else:
                kept.append(pair)
        if values:
            self.raw = kept
        return values

    def _discard(self, name: bytes) -> bool:
        kept = [pair for pair in self.raw if pair[0].lower() != name]
        found = len(kept) != len(self.raw)
        self.raw = kept
        return found


def _checked(name: str | bytes, value: str | bytes) -> tuple[bytes, bytes]:
    key = name if isinstance(name, bytes) else name.encode("utf-8", "replace")
    if _TOKEN.fullmatch(key) is None:
        raise ValueError(f"bad header name {name!r}: a header name is letters, digits and -_.")
    if isinstance(value, str):
        value = _encoded(key, value)
    elif not isinstance(value, bytes):
        kind = type(value).__name__
        raise TypeError(f"header {key.decode()}: a value is str or bytes, not {kind}")
    if _FORBIDDEN_IN_VALUE.search(value):
        raise ValueError(f"header {key.decode()}: control characters are not allowed in a value")
    return key, value.strip(b" \t")


def _encoded(name: bytes, value: str) -> bytes:
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"header {name.decode()}: the value has a lone surrogate") from None


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def add_vary(headers: MutableHeaders, *names: str) -> None:
    """Add to `Vary` (RFC 9110 12.5.5) those names of request fields that it lacks.

    Args:
        headers: of a response; `Vary: *` in them stands for all names.
        names: fields that the response depends on.
    """
    present = list_tokens(headers.values_of(b"vary"))
    lacking = [name for name in names if name.lower().encode() not in present]
    if lacking and b"*" not in present:
        headers["Vary"] = ", ".join([*headers.getlist("vary"), *lacking])


class QueryParams(Mapping[str, str]):
    """The parameters of a query string; a name may occur several times.

    `params["x"]` and `get` give the last value of a name, `getlist` gives all. Percent-encoding
    is decoded as UTF-8, what is none becomes U+FFFD. A name without a value has the value `""`.

    Args:
        query: the part of the target after `?`, still encoded.
    """

    __slots__ = ("_index", "pairs")

    pairs: list[tuple[str, str]]
    """All names and values in their order."""

    def __init__(self, query: str | bytes = "") -> None:
        text = query.decode("latin-1") if isinstance(query, bytes) else query
        self.pairs = parse_qsl(text, keep_blank_values=True)
        self._index = dict(self.pairs)

    def getlist(self, name: str) -> list[str]:
        """All values of a name, in their order; none: an empty list."""
        return [value for key, value in self.pairs if key == name]

    def __getitem__(self, name: str) -> str:
        return self._index[name]

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def __repr__(self) -> str:
        return f"QueryParams({self.pairs!r})"


def list_tokens(values: Sequence[bytes]) -> list[bytes]:
    """The elements of a comma-separated field, in lower case, empty ones left out.

    For fields whose elements are tokens (`Connection`, `Upgrade`, `Expect`); RFC 9110 5.6.1.
    """
    if len(values) == 1 and b"," not in values[0]:  # as nearly always
        element = values[0].lower().strip(b" \t")
        return [element] if element else []
    elements = [part.strip(b" \t") for value in values for part in value.lower().split(b",")]
    return [element for element in elements if element]


def has_token(values: Sequence[bytes], token: bytes) -> bool:
    """Whether a field has an element, given in lower case; see `list_tokens`."""
    if len(values) == 1 and len(values[0]) <= MEMORABLE:
        return token in _tokens_of(values[0])
    return token in list_tokens(values)


@lru_cache(maxsize=64)
def _tokens_of(value: bytes) -> tuple[bytes, ...]:
    return tuple(list_tokens((value,)))
