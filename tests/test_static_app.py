"""`App.static`: files beside routes and WebSockets of one server."""

import asyncio

import aiohttp
import pytest

from wsrelay import App, StreamingResponse
from wsrelay.http import RouteConflict
from wsrelay.http.static import StaticError


@pytest.fixture
def www(tmp_path):
    (tmp_path / "index.html").write_text("page")
    (tmp_path / "big.bin").write_bytes(b"x" * 1_000_000)
    return tmp_path


def test_files_beside_routes(run_everywhere, www):
    app = App()
    app.static("/", www, spa=True)
    router = app.router("/api")

    async def numbers():
        for number in range(3):
            await asyncio.sleep(0)
            yield f"{number}\n"

    router.get("/numbers")(lambda request: StreamingResponse(numbers(), media_type="text/plain"))

    async def main():
        async with app.running() as server, aiohttp.ClientSession() as session:
            bodies = []
            for path in ("/", "/any/where", "/big.bin", "/api/numbers"):
                async with session.get(server.url + path) as answer:
                    bodies.append(await answer.text())
            return bodies

    assert run_everywhere(main()) == ["page", "page", "x" * 1_000_000, "0\n1\n2\n"]


def test_what_can_not_be_declared(www):
    app = App()
    app.static("/a", www)
    with pytest.raises(RouteConflict, match=r"under /a \(.*\) can't be told from .* under /a \("):
        app.static("/a/", www)
    with pytest.raises(StaticError, match="does not exist"):
        app.static("/b", www / "none")
    with pytest.raises(ValueError, match=r'there is no http\.service "app:other"'):
        app.static("/b", www, server="other")
    assert len(app.services["app:gateway"].files) == 1
