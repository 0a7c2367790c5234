"""The README's example is an application that works."""

import re
from pathlib import Path

from websockets.asyncio.client import connect

from wsrelay import App

README = Path(__file__).parents[1] / "README.md"


def example() -> str:
    """The one Python block of the README."""
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    return code


def test_the_example_is_short():
    lines = [line for line in example().splitlines() if line.strip()]
    assert len(lines) <= 30


def test_the_example_is_a_room(run):
    async def main():
        *code, last = example().rstrip().splitlines()
        assert last.startswith("app.run(")
        names: dict[str, object] = {"__name__": "readme"}
        exec("\n".join(code), names)
        app = names["app"]
        assert isinstance(app, App)
        async with app.running() as server:
            url = f"ws://127.0.0.1:{server.port}/ws/rooms/kitchen?user="
            async with connect(url + "ann") as ann, connect(url + "bob") as bob:
                await bob.send("hello")
                for client in (ann, bob):
                    assert await client.recv() == '{"from":"bob","text":"hello"}'

    run(main())
