"""The JSON Schema of a configuration file, for editors, from the tables that it is read by."""

import inspect
import re
from typing import Any

from wsrelay.config import KINDS, values
from wsrelay.config.entries import Entry
from wsrelay.config.fields import Row, rows_of
from wsrelay.config.load import VERSION
from wsrelay.config.schema import Schema, form_of, nullable, or_variable
from wsrelay.middleware.options import Option
from wsrelay.middleware.table import MIDDLEWARE

__all__ = ["file_schema"]

_NAME: Schema = rows_of(Entry)["name"].setting.read.schema(lambda _: {})
_ATTRIBUTE = re.compile(r"(\w+(?:, \w+)*): (.*)")


def file_schema() -> Schema:
    """The schema (draft 2020-12, https://json-schema.org/draft/2020-12) of a whole file.

    It knows every kind with its fields and defaults, the names of middleware and their options. It
    sees neither what names refer to nor what is imported; `wsrelay check` does.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "wsrelay configuration",
        "type": "object",
        "required": ["version", "namespace", "entries"],
        "additionalProperties": False,
        "properties": {
            "version": {
                "description": "Version of the format.",
                # Without quotes it is a number, and as good.
                **or_variable({"enum": [VERSION, float(VERSION)]}),
            },
            "namespace": {"description": "Namespace of all entries.", **_NAME},
            "entries": {
                "description": "The entries, in any order.",
                "type": "array",
                "items": {"$ref": "#/$defs/entry"},
            },
        },
        "$defs": {
            "entry": _entry(),
            **{kind: _kind(table) for kind, table in KINDS.items()},
            "middleware": _middleware(),
            "options": _options(),
            "variable": {
                "description": "`${env:NAME|default}`: from the environment.",
                "type": "string",
                "pattern": r"\$\{",
            },
        },
    }


def _entry() -> Schema:
    kinds = [{"const": kind, "description": _summary(table)} for kind, table in KINDS.items()]
    return {
        "type": "object",
        "required": ["name", "kind"],
        "properties": {"kind": {"description": "What the entry is.", "oneOf": kinds}},
        # Not `oneOf`: only so an editor tells what is wrong with the kind that is written there.
        "allOf": [
            {
                "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                "then": {"$ref": f"#/$defs/{kind}"},
            }
            for kind in KINDS
        ],
    }


def _kind(table: type[Entry]) -> Schema:
    schema = _table(table)
    schema["properties"] = {"kind": {"const": table.kind}, **schema["properties"]}
    return schema


def _table(table: type[Any]) -> Schema:
    """A group of keys; one with a dot is in a group of its own."""
    properties: Schema = {}
    required = []
    descriptions = _descriptions(table)
    for row in rows_of(table).values():
        head, dot, key = row.at.partition(".")
        field = _field(row, descriptions.get(row.name, ""))
        if dot:
            group = properties.setdefault(head, _group({}, ["object", "null"]))
            group["properties"][key] = field
        else:
            properties[head] = field
            if row.required:
                required.append(head)
    schema = _group(properties, "object")
    schema["description"] = _summary(table)
    return {**schema, "required": required} if required else schema


def _group(properties: Schema, kind: str | list[str]) -> Schema:
    return {"type": kind, "additionalProperties": False, "properties": properties}


def _field(row: Row, description: str) -> Schema:
    read = row.setting.read
    schema = read.schema(_table)
    shown: Schema = {"description": description} if description else {}
    if row.default not in (None, ""):
        default = read.show(row.default)
        shown |= {} if default is None else {"default": default}
    may_be_absent = not row.required or row.setting.absent is not None
    return {**(nullable(schema) if may_be_absent else schema), **shown}


# -- middleware ------------------------------------------------------------------------------------


def _middleware() -> Schema:
    names = [
        {"const": name, "description": _summary(kind.make)} for name, kind in MIDDLEWARE.items()
    ]
    own = {**form_of(values.import_path).schema(), "description": "The app's own."}
    return {"anyOf": [*names, own, {"$ref": "#/$defs/variable"}]}


def _options() -> Schema:
    known = {
        option.name: _option(name, option)
        for name, kind in MIDDLEWARE.items()
        for option in kind.options
    }
    # A factory of the app has options under a prefix of its own, which is not known here.
    prefixes = "|".join(re.escape(each) for kind in MIDDLEWARE.values() for each in kind.prefixes)
    own = {"pattern": r"^[^.]+\.", "not": {"pattern": f"^({prefixes})"}}
    return {
        "type": "object",
        "properties": known,
        "propertyNames": {"anyOf": [{"enum": sorted(known)}, own]},
        "additionalProperties": {"type": ["string", "number", "boolean"]},
    }


def _option(owner: str, option: Option) -> Schema:
    form = form_of(option.read)
    shown: Schema = {"description": option.about or f"An option of {owner}."}
    if option.default is not None:
        shown["default"] = form.show(option.default)
    return {**or_variable(form.schema()), **shown}


# -- docstrings ------------------------------------------------------------------------------------


def _summary(documented: Any) -> str:
    """The first sentence of a docstring."""
    return inspect.cleandoc(documented.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


def _descriptions(table: type[Any]) -> dict[str, str]:
    """What docstrings say of each attribute, those of the classes above included."""
    found: dict[str, str] = {}
    for owner in reversed(table.__mro__):
        _, _, section = inspect.cleandoc(owner.__doc__ or "").partition("Attributes:\n")
        for paragraph in re.split(r"\n {4}(?! )", "\n" + section.partition("\n\n")[0]):
            match = _ATTRIBUTE.fullmatch(" ".join(paragraph.split()))
            if match is not None:
                found |= dict.fromkeys(match[1].split(", "), match[2])
    return found
