"""docs/first-app.md: a reader types along, and it works."""

import pytest
from guide import DOCS, Reader, blocks
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PAGE = DOCS / "first-app.md"
OPEN = "return ws.readyState == WebSocket.OPEN"


@pytest.fixture
def reader(tmp_path):
    someone = Reader(tmp_path)
    yield someone
    someone.close()


def test_the_reader_types_along(reader):
    reader.follow(blocks(PAGE))
    assert reader.commands == PAGE.read_text("utf-8").count("\n$ ") > 8


def test_the_page_in_a_browser(reader, tmp_path, chrome):
    """The room with the page: the one line that the text adds before the last two."""
    parts = blocks(PAGE)
    (line,) = (part for part in parts if part.language == "python" and part.file is None)
    *_, room = (part for part in parts if part.file == "chat.py")
    *code, log, run = room.text.splitlines()
    assert (log[:8], run[:8]) == ("logging.", "app.run(")
    reader.follow([part for part in parts if part.file == "www/index.html"])
    (tmp_path / "chat.py").write_text("\n".join([*code, line.text, log, run]))
    (server,) = (part for part in parts if part.text.startswith("$ python chat.py\nINFO"))
    reader.follow([server])
    chrome.switch_to.new_window("window")
    chrome.get(f"http://127.0.0.1:{reader.port}/")
    field = chrome.find_element(By.ID, "text")
    WebDriverWait(chrome, 10, 0.05).until(lambda _: chrome.execute_script(OPEN))
    field.send_keys("hello")
    field.submit()
    WebDriverWait(chrome, 10, 0.05).until(lambda _: chrome.find_elements(By.TAG_NAME, "li"))
    assert [line.text for line in chrome.find_elements(By.TAG_NAME, "li")] == ["browser: hello"]
