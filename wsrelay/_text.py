"""Words for messages: suggestions, and texts shown so that they stay on one line."""

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "listed", "nearest", "quoted"]

_LONGEST_WORD = 100
_SIMILARITY = 0.6


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that `word` was most likely meant to be, or None if none is near.

    Case is ignored. A word of more than 100 characters has no neighbour: the comparison takes
    quadratic time, and nobody mistypes so long a name.
    """
    if len(word) > _LONGEST_WORD:
        return None
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    close = difflib.get_close_matches(word.lower(), sorted(by_lower), n=1, cutoff=_SIMILARITY)
    return by_lower[close[0]] if close else None


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """The end of a message: `, did you mean "x"?`, or nothing if no candidate is near."""
    near = nearest(word, candidates)
    return f", did you mean {quoted(near)}?" if near is not None else ""


def quoted(text: str, limit: int = 80) -> str:
    """`text` in double quotes, cut to `limit` characters, what can't be printed escaped."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return '"' + "".join(map(_visible, cut)) + '"'


def listed(words: Iterable[str], last: str = "and") -> str:
    """The words as English lists them: `a`, `a and b`, `a, b and c`."""
    *head, tail = words
    return f"{', '.join(head)} {last} {tail}" if head else tail


def _visible(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
