"""The reference of the configuration, docs/configuration.md, from the tables that it is read by.

    python -m wsrelay.reference > docs/configuration.md

writes it. A test holds that the file is what this gives.
"""

import inspect
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

from wsrelay._text import listed
from wsrelay.config import values
from wsrelay.config.durations import DURATION, SIZE
from wsrelay.config.schema import Schema, form_of
from wsrelay.middleware.table import MIDDLEWARE
from wsrelay.schema import file_schema

__all__ = ["reference"]

_HEAD = """\
# Configuration

<!-- Written by `python -m wsrelay.reference`; change the docstrings and tables that it reads. -->

A file describes the calls that [an app in code](first-app.md) makes. `wsrelay check app.yaml` tells
all that is wrong with one, `wsrelay run app.yaml` serves it, `App.from_file("app.yaml")` gives the
same App in code. [Editors](editor.md) complete it with the schema that `wsrelay schema` writes.

```yaml
version: "1.0"
namespace: app
entries:
  - name: sockets
    kind: http.router
    prefix: /ws
    post_middleware: [websocket_relay]
    post_options:
      wsrelay.allowed.origins: "https://app.example.com"
  - name: connect
    kind: http.endpoint
    method: GET
    path: /rooms/{room}
    func: rooms:connect
  - name: room
    kind: process.python
    source: rooms:room
```

- Each entry has a `name`, unique in the `namespace` of the file, and a `kind`. The order of the
  entries does not matter.
- A reference is `namespace:name`, or the bare `name`. Where that is no entry, `func` and `process`
  take an import path, `package.module:attribute`; the folder of the file is looked in first.
- `${env:NAME}` is a variable of the environment, `${env:NAME|default}` one with a default. A
  variable that is not set and has no default is an error.
- What a word without quotes is: [YAML's traps](configuration-traps.md).

In the tables of the kinds, `meta.server` is the key `server` in the group `meta`. In options the
dots are part of the key.

| Value | Is written |
|---|---|
| duration | `300ms`, `30s`, `1m30s`, `1.5h`; `0` is off. A number without a unit is an error |
| size | bytes: `512`, `16KiB`, `1MiB` (1024), `1KB`, `1MB` (1000) |
| address | `127.0.0.1:8080`, `:8080` (all interfaces), `[::1]:8080`, `unix:/path` |
| name | letters, digits, `_`, `-` and `.` |
| import path | `package.module:attribute` |
"""

_MIDDLEWARE_HEAD = """\
## Middleware

`middleware` and `post_middleware` of a router are lists of names, the outermost first.
`middleware` runs for every request under the prefix, 404 and 405 included. `post_middleware` runs
after the match of a route, and sees its parameters. Their options stand in `options` and
`post_options`. An option is a text; numbers and booleans need no quotes. An option of a middleware
that is not in the list is an error.

A middleware of one's own is an async function, or a factory: a class, or a function of one
argument, that is given the options under its `prefix` and makes one. In a file a list names it by
its import path, `app.web:stamp`; in code the list may have the object itself, and each of the
classes behind the names takes its options as keywords as well:

```python
from wsrelay import App, Request, Response
from wsrelay.middleware.ratelimit import RateLimit

app = App()


async def stamp(request: Request, call_next) -> Response:
    response = await call_next(request)
    response.headers["X-Served-By"] = "me"
    return response


class Tenant:
    prefix = "tenant."

    def __init__(self, options):
        self.name = options.get("tenant.name", "nobody")

    async def __call__(self, request: Request, call_next) -> Response:
        request.state.tenant = self.name
        return await call_next(request)


app.router(
    "/api",
    middleware=[stamp, "cors", RateLimit(requests=10, window="1s"), Tenant],
    options={"tenant.name": "acme"},
)
```
"""

_NAMED: dict[str, str] = {
    str(DURATION["pattern"]): "duration",
    str(SIZE["pattern"]): "size",
    **{
        form_of(reader).schema()["pattern"]: word
        for reader, word in (
            (values.name, "name"),
            (values.address, "address"),
            (values.import_path, "import path"),
            (values.method, "method"),
            (values.path, "path"),
            (values.prefix, "path"),
            (values.file_name, "name of a file"),
        )
    },
    r"^\S+$": "reference",
}
_SECTIONS = re.compile(r"\n\n(?=(?:Args|Attributes|Raises|Returns):\n)")


def reference() -> str:
    """The page, in Markdown."""
    definitions = file_schema()["$defs"]
    kinds = definitions["entry"]["properties"]["kind"]["oneOf"]
    parts = [_HEAD, "## Kinds\n"]
    parts += (_kind(one["const"], definitions[one["const"]]) for one in kinds)
    parts.append(_MIDDLEWARE_HEAD)
    parts += (_middleware(name, definitions["options"]["properties"]) for name in MIDDLEWARE)
    return "\n".join(parts)


def _kind(name: str, schema: Schema) -> str:
    head = "| Field | Value | Default | Meaning |\n|---|---|---|---|"
    fields = {key: field for key, field in schema["properties"].items() if key != "kind"}
    rows = _field_rows({**schema, "properties": fields}, "")
    return "\n".join([f"### `{name}`\n", schema["description"] + "\n", head, *rows, ""])


def _field_rows(schema: Schema, before: str) -> Iterator[str]:
    required = schema.get("required", ())
    for key, field in schema["properties"].items():
        inner = _group_in(field)
        if key != "meta":
            default = "required" if key in required else _default(field)
            told = ("group" if inner else _value(field), default, field.get("description", ""))
            yield _row(f"`{before}{key}`", *told)
        if inner is not None:
            yield from _field_rows(inner, f"{before}{key}.")


def _group_in(field: Schema) -> Schema | None:
    return next((one for one in _branches(field) if "properties" in one), None)


def _middleware(name: str, options: dict[str, Schema]) -> str:
    kind = MIDDLEWARE[name]
    module = inspect.cleandoc(sys.modules[kind.make.__module__].__doc__ or "")
    told = [_capital(module.removeprefix(f"The `{name}` middleware: "))]
    told += _body(inspect.cleandoc(kind.make.__doc__ or ""))
    head = "| Option | Value | Default | Meaning |\n|---|---|---|---|"
    rows = [
        _row(
            f"`{option.name}`",
            _value(options[option.name]),
            _default(options[option.name]),
            options[option.name]["description"],
        )
        for option in kind.options
    ]
    return "\n".join([f"### `{name}`\n", "\n\n".join(told) + "\n", head, *rows, ""])


def _body(docstring: str) -> Iterator[str]:
    """The paragraphs before the arguments; a first one that only says what it is says nothing."""
    summary, _, rest = _SECTIONS.split(docstring)[0].partition("\n\n")
    summary = summary.removeprefix("The middleware")
    if not summary.startswith((".", ",")):
        yield _capital(summary.lstrip(":; "))
    if rest:
        yield rest


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(field: Schema) -> str:
    default: Any = field.get("default", "")
    if default in ("", [], {}):
        return ""
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _value(field: Schema) -> str:
    """One or two words for what is written there."""
    for schema in _branches(field):
        kinds = schema.get("type", "text")
        if "enum" in schema:
            words = dict.fromkeys(map(str, schema["enum"]))
            return listed((f"`{word}`" for word in words), "or")
        if "array" in kinds:
            return f"list: {_value(schema['items'])}"
        if schema.get("pattern") in _NAMED:
            return _NAMED[schema["pattern"]]
        if kinds == ["boolean", "string"]:
            return "`true` or `false`"
        if "integer" in kinds:
            return f"whole number from {schema['minimum']}"
        if kinds == ["number", "string"]:
            return f"number from {schema['minimum']:g} to {schema['maximum']:g}"
        if schema.get("$ref") in _REFERRED:
            return _REFERRED[schema["$ref"]]
        return "text" if "type" in schema else "anything"
    return "anything"


_REFERRED = {"#/$defs/middleware": "middleware", "#/$defs/options": "options"}


def _branches(field: Schema) -> list[Schema]:
    """The forms that a value may have, but for null and a variable, which it may be anyway."""
    anyway = ({"type": "null"}, {"$ref": "#/$defs/variable"})
    return [one for one in field.get("anyOf", [field]) if one not in anyway]


if __name__ == "__main__":
    sys.stdout.write(reference())
