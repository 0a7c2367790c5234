"""`${env:NAME}` and `${env:NAME|default}` in the texts of a configuration."""

import re
from collections.abc import Mapping

from wsrelay._text import quoted

__all__ = ["substitute"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def substitute(text: str, environment: Mapping[str, str]) -> str:
    """`text` with each `${env:NAME|default}` replaced; `$${` stands for a plain `${`.

    The value of a variable is taken as it is, never searched again. A variable that is set to the
    empty text is set; the default is for one that is not there. A default holds no `}`.

    Raises:
        ValueError: a missing variable without a default, or a `${` that means nothing.
    """
    parts: list[str] = []
    at = 0
    while (start := text.find("${", at)) >= 0:
        if start and text[start - 1] == "$":
            parts += text[at : start - 1], "${"
            at = start + 2
            continue
        end = text.find("}", start)
        if end < 0:
            raise ValueError(f'"${{" without its "}}" in {quoted(text)}; a plain "${{" is "$${{"')
        parts += text[at:start], _value(text[start + 2 : end], environment)
        at = end + 1
    return "".join([*parts, text[at:]])


def _value(inner: str, environment: Mapping[str, str]) -> str:
    scheme, _, rest = inner.partition(":")
    name, bar, default = rest.partition("|")
    if scheme != "env" or not _NAME.fullmatch(name):
        raise ValueError(_unknown(inner, name if scheme == "env" else inner))
    if "${" in default:
        raise ValueError(f'a default can\'t hold a "${{" of its own: {quoted(default)}')
    value = environment.get(name)
    if value is not None:
        return value
    if bar:
        return default
    raise ValueError(
        f"the environment variable {quoted(name)} is not set; "
        f'set it, or write "${{env:{name}|default}}"'
    )


def _unknown(inner: str, name: str) -> str:
    shown = quoted(f"${{{inner}}}")
    example = name if _NAME.fullmatch(name) and len(name) < 50 else "NAME"
    return f'{shown} is unknown; write "${{env:{example}}}", or "$${{" for a plain "${{"'
