"""What is wrong with a configuration, and where; a `ConfigError` carries them."""

from dataclasses import dataclass
from typing import Self

__all__ = ["Place", "Problem"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a thing stands: file as the user named it (None: no file), line and column from 1."""

    file: str | None
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file or '<string>'}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend.

    Args:
        file: The file as the user named it; None for an entry that was made in code.
        line: Line, from 1; None if the whole file is meant.
        column: Column in characters, from 1; None with `line`.
        where: The entry, as in `http.router "ws_router"`; empty outside entries.
        message: What is wrong, and how to mend it.
    """

    file: str | None
    line: int | None
    column: int | None
    where: str
    message: str

    @classmethod
    def at(cls, place: Place | None, where: str, message: str) -> Self:
        """A problem at `place`; without a place, one that names only `where`."""
        if place is None:
            return cls(None, None, None, where, message)
        return cls(place.file, place.line, place.column, where, message)

    def __str__(self) -> str:
        parts = [self._position(), self.where, self.message]
        return ": ".join(part for part in parts if part)

    def _position(self) -> str:
        if self.file is None:
            return ""
        return self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"

    @property
    def order(self) -> tuple[str, int, int]:
        """Its place, to sort by."""
        return self.file or "", self.line or 0, self.column or 0
