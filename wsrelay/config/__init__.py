"""Configuration: a YAML file becomes typed entries, or one list of everything that is wrong.

    load.py         the doors, `load_file` and `load_text`; entries are found, then read
    yaml.py         text → tree; the only module that imports PyYAML, and only when a file is read
    environment.py  `${env:NAME|default}`
    nodes.py        the tree: values with the places of keys and values
    entries.py      the kinds of entries; each dataclass is the table it is read by
    fields.py       how any such table is read
    values.py       readers of single values: addresses, paths, names, numbers
    locations.py    addresses, subnets and import paths themselves
    schema.py       how values are written, for editors; `wsrelay schema` is in wsrelay/schema.py
    references.py   references between entries, and import paths
    durations.py    durations and sizes, for other rooms too
    errors.py       Problem (with its place) and ConfigError (all of them)

An absent key and one that is null mean the same: the default. Which options a middleware knows is
not known here: the middleware reads its texts from `options`, and gives what it finds wrong the
right place with `entry.problem(message, "options", key)`.
"""

from typing import TYPE_CHECKING

from wsrelay._late import late
from wsrelay.config.durations import (
    duration_ms,
    format_duration,
    parse_duration,
    parse_size,
    seconds,
)
from wsrelay.config.locations import (
    Address,
    ImportPath,
    Proxy,
    parse_address,
    parse_import_path,
    parse_proxy,
)
from wsrelay.errors import ConfigError

# Most programs read no file, and the tables that one is read by take their time to make.
if TYPE_CHECKING:
    from wsrelay.config.entries import (
        KINDS,
        TLS,
        Entry,
        FunctionPython,
        HTTPEndpoint,
        HTTPRouter,
        HTTPService,
        HTTPStatic,
        Lifecycle,
        Limits,
        ProcessHost,
        ProcessPython,
        ProcessService,
        Restart,
        Timeouts,
    )
    from wsrelay.config.load import Config, load_file, load_text, read_file
    from wsrelay.config.problems import Place, Problem
    from wsrelay.config.references import Reference
else:
    __getattr__, __dir__ = late(
        __name__,
        entries=(
            "KINDS",
            "TLS",
            "Entry",
            "FunctionPython",
            "HTTPEndpoint",
            "HTTPRouter",
            "HTTPService",
            "HTTPStatic",
            "Lifecycle",
            "Limits",
            "ProcessHost",
            "ProcessPython",
            "ProcessService",
            "Restart",
            "Timeouts",
        ),
        load=("Config", "load_file", "load_text", "read_file"),
        problems=("Place", "Problem"),
        references=("Reference",),
    )

__all__ = [
    "KINDS",
    "TLS",
    "Address",
    "Config",
    "ConfigError",
    "Entry",
    "FunctionPython",
    "HTTPEndpoint",
    "HTTPRouter",
    "HTTPService",
    "HTTPStatic",
    "ImportPath",
    "Lifecycle",
    "Limits",
    "Place",
    "Problem",
    "ProcessHost",
    "ProcessPython",
    "ProcessService",
    "Proxy",
    "Reference",
    "Restart",
    "Timeouts",
    "duration_ms",
    "format_duration",
    "load_file",
    "load_text",
    "parse_address",
    "parse_duration",
    "parse_import_path",
    "parse_proxy",
    "parse_size",
    "read_file",
    "seconds",
]
