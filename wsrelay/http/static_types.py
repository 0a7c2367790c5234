"""The media types of static files, by a table of our own: the same on every machine.

Python's `mimetypes` reads the system's tables, and its own differs from version to version.
"""

__all__ = ["content_type_of"]

_TYPES = {
    "text/calendar": "ics",
    "text/css": "css",
    "text/csv": "csv",
    "text/html": "html htm",
    "text/javascript": "js mjs cjs",  # RFC 9239
    "text/markdown": "md markdown",
    "text/plain": "txt text log",
    "text/tab-separated-values": "tsv",
    "text/vcard": "vcf",
    "text/vtt": "vtt",
    "text/xml": "xml xsl",
    "application/atom+xml": "atom",
    "application/epub+zip": "epub",
    "application/geo+json": "geojson",
    "application/gzip": "gz tgz",
    "application/json": "json map",
    "application/ld+json": "jsonld",
    "application/manifest+json": "webmanifest",
    "application/pdf": "pdf",
    "application/rss+xml": "rss",
    "application/rtf": "rtf",
    "application/vnd.apple.mpegurl": "m3u8",
    "application/wasm": "wasm",  # WebAssembly.instantiateStreaming insists on it
    "application/x-7z-compressed": "7z",
    "application/x-bzip2": "bz2",
    "application/x-tar": "tar",
    "application/xhtml+xml": "xhtml",
    "application/yaml": "yaml yml",
    "application/zip": "zip",
    "application/zstd": "zst",
    "audio/aac": "aac",
    "audio/flac": "flac",
    "audio/midi": "mid midi",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/ogg": "oga ogg opus",
    "audio/wav": "wav",
    "audio/webm": "weba",
    "font/collection": "ttc",
    "font/otf": "otf",
    "font/ttf": "ttf",
    "font/woff": "woff",
    "font/woff2": "woff2",
    "image/apng": "apng",
    "image/avif": "avif",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "image/jpeg": "jpg jpeg",
    "image/jxl": "jxl",
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/tiff": "tif tiff",
    "image/vnd.microsoft.icon": "ico",
    "image/webp": "webp",
    "model/gltf+json": "gltf",
    "model/gltf-binary": "glb",
    "video/mp2t": "ts",
    "video/mp4": "mp4 m4v",
    "video/mpeg": "mpg mpeg",
    "video/ogg": "ogv",
    "video/quicktime": "mov",
    "video/webm": "webm",
}
_BY_EXTENSION = {name: kind for kind, names in _TYPES.items() for name in names.split()}

_UNKNOWN = "application/octet-stream"


def content_type_of(name: str) -> str:
    """The `Content-Type` of a file by the last extension of its name, in any case.

    A `text/` type says `charset=utf-8`. What the table does not have is
    `application/octet-stream`, which a browser saves and never runs.
    """
    stem, _, extension = name.rpartition(".")
    kind = _BY_EXTENSION.get(extension.lower(), _UNKNOWN) if stem else _UNKNOWN
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
