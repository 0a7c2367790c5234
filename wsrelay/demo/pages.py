"""The page of the chat and its files, as they are in the folder `static`."""

import mimetypes
from pathlib import Path

from wsrelay import HTTPError, Request, Response

FILES = {file.name: file.read_bytes() for file in Path(__file__).with_name("static").iterdir()}
# A page that may load nothing but its own files can't be made to run what somebody typed.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def page(request: Request) -> Response:
    """The page and its files."""
    name = request.path_params.get("file", "index.html")
    if name not in FILES:
        raise HTTPError(404)
    return Response(FILES[name], headers=HEADERS, media_type=mimetypes.guess_type(name)[0])
