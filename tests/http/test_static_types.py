import pytest

from wsrelay.http.static_types import content_type_of


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("index.html", "text/html; charset=utf-8"),
        ("A.HTML", "text/html; charset=utf-8"),
        ("app.min.js", "text/javascript; charset=utf-8"),
        ("module.mjs", "text/javascript; charset=utf-8"),
        ("data.json", "application/json"),
        ("icon.svg", "image/svg+xml"),
        ("x.tar.gz", "application/gzip"),
        ("code.wasm", "application/wasm"),
        ("README", "application/octet-stream"),
        ("page.php", "application/octet-stream"),
        (".html", "application/octet-stream"),
        ("html", "application/octet-stream"),
        ("dot.", "application/octet-stream"),
        ("x.html.ÿ", "application/octet-stream"),
    ],
)
def test_types(name, kind):
    assert content_type_of(name) == kind
