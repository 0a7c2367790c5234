"""The demo in a real browser: Debian's chromium without a window."""

import signal

import pytest
from chromium import program
from commands import Command, serving
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait


@pytest.fixture(scope="module")
def server():
    with serving("demo", "--port", "0") as command:
        yield command


class Page:
    """One window with the chat in it."""

    def __init__(self, chrome, url):
        self.chrome = chrome
        chrome.switch_to.new_window("window")
        self.handle = chrome.current_window_handle
        chrome.get(url)

    def __getitem__(self, name):
        """The element of an id; this window gets the focus."""
        self.chrome.switch_to.window(self.handle)
        return self.chrome.find_element(By.ID, name)

    def fill(self, name, text):
        """Type into a field, and press Enter in it."""
        field = self[name]
        field.clear()
        field.send_keys(text)
        field.submit()

    def join(self, name, room):
        """Come in."""
        self["name"].send_keys(name)
        self.fill("room", room)
        self.wait(f"You are in {room}")
        return self

    def names(self, *elements):
        """What a screen reader calls them."""
        return [self[each].accessible_name for each in elements]

    def lines(self):
        """The log."""
        return [line.text for line in self["log"].find_elements(By.TAG_NAME, "li")]

    def people(self):
        """Who is there; the letter in the circle is for the eye alone."""
        return self.script(
            "return [...document.querySelectorAll('#people li')].map(li => li.lastChild.data)"
        )

    def script(self, text, *args):
        """Run JavaScript in this window."""
        self.chrome.switch_to.window(self.handle)
        return self.chrome.execute_script(text, *args)

    def until(self, condition, what):
        """Wait until a condition of this page holds."""
        WebDriverWait(self.chrome, 10, 0.05).until(
            lambda _: condition(), f"{what}; log {self.lines()}, {self['status'].text}"
        )

    def wait(self, text):
        """Wait for a line in the log."""
        self.until(lambda: any(text in line for line in self.lines()), f"no line {text!r}")

    def wait_people(self, *names):
        """Wait until these are in the room."""
        self.until(lambda: self.people() == list(names), f"not there: {names}")

    def errors(self):
        """What the browser complains of."""
        self.chrome.switch_to.window(self.handle)
        return [entry["message"] for entry in self.chrome.get_log("browser")]

    def close(self):
        """Close the window."""
        self.chrome.switch_to.window(self.handle)
        self.chrome.close()
        self.chrome.switch_to.window(self.chrome.window_handles[0])


@pytest.fixture
def open_page(chrome, server):
    pages = []

    def open_one(command=server, fragment=""):
        pages.append(Page(chrome, f"http://127.0.0.1:{command.port}/{fragment}"))
        return pages[-1]

    yield open_one
    for page in pages:
        if page.handle in chrome.window_handles:
            page.close()


def test_two_people_talk_move_and_leave(open_page):
    ann = open_page().join("ann", "tea")
    bob = open_page().join("Bob", "tea")
    ann.wait("Bob joined")
    for page in (ann, bob):
        page.wait_people("ann", "Bob")

    ann.fill("text", "hello Bob")
    bob.wait("hello Bob")
    bob.fill("text", "hello ann")
    ann.wait("hello ann")
    assert [line.split("\n")[-1] for line in ann.lines()] == [
        "You are in tea", "Bob joined", "hello Bob", "hello ann"
    ]  # fmt: skip

    pid = bob["pid"].text
    assert pid.startswith("{demo:gateway|0x")
    bob.fill("next", "garden")
    bob.wait("You moved to garden, on the same connection")
    ann.wait("Bob moved on")
    ann.wait_people("ann")
    bob.wait_people("Bob")
    assert bob["pid"].text == pid
    assert (bob["connects"].text, bob["rooms-seen"].text) == ("once", "2")
    ann.fill("text", "alone")
    ann.wait("alone")

    bob.fill("next", "tea")
    ann.wait_people("ann", "Bob")
    assert "alone" not in "".join(bob.lines())
    assert bob["pid"].text == pid
    assert (ann.errors(), bob.errors()) == ([], [])

    bob.close()
    ann.wait("Bob left")
    ann.wait_people("ann")


def test_what_others_write_stays_text(open_page):
    page = open_page().join("ann", "safe")
    attack = "<img src=x onerror=\"document.title='broken'\"><script>alert(1)</script>"
    page.fill("text", attack)
    page.wait(attack)
    assert page["log"].find_elements(By.CSS_SELECTOR, "img, script") == []
    assert page.script("return document.title") == "safe · wsrelay chat"
    assert page.errors() == []


def test_limits_hold_with_and_without_the_page(open_page):
    page = open_page().join("n" * 30, "limits")
    assert page.people() == ["n" * 24]
    page.script("document.getElementById('text').value = 'x'")
    page.script("send({say: 'y'.repeat(501)})")
    page.wait("The server did not take that")
    for wish in ("{move: '../x'}", "{move: '}'}", "{say: ' '}", "{say: 5}", "[]", "{sing: 1}"):
        before = len(page.lines())
        page.script(f"send({wish})")
        page.until(lambda before=before: len(page.lines()) > before, wish)
        assert page.lines()[-1] == "The server did not take that"
    assert page["status"].text == "Connected"


def test_a_lost_connection_is_told_and_made_again(open_page):
    with serving("demo", "--port", "0") as first:
        port = first.port
        page = open_page(first, "#room=garden")
        page["name"].send_keys("ann\n")
        page.wait("You are in garden")
        pid = page["pid"].text
        first.signal(signal.SIGTERM)
        page.wait("Closed: 1001, server shutting down")
        assert first.status() == 0
    page.until(lambda: page["countdown"].text.startswith("Again in "), "no countdown")
    assert not page["say"].find_element(By.TAG_NAME, "button").is_enabled()
    page.wait("Closed: 1006, no connection")
    with serving("demo", "--port", str(port)):
        page["now"].click()
        page.until(lambda: page["status"].text == "Connected", "not again")
        page.wait_people("ann")
        assert page["connects"].text == "2 times"
        assert page["pid"].text not in ("", pid)
        assert {"ERR_CONNECTION_REFUSED" in error for error in page.errors()} == {True}


def test_keyboard_and_screen_reader(open_page):
    page = open_page()
    assert page.script("return document.activeElement.id") == "name"
    assert page.names("name", "room") == ["Your name", "Room"]
    page["name"].send_keys("ann\n")
    page.wait("You are in tea")
    assert page.script("return document.activeElement.id") == "text"
    page.chrome.switch_to.active_element.send_keys("by keyboard\n")
    page.wait("by keyboard")
    assert page.names("text", "next", "log") == ["Message", "Move to a room", "Messages"]
    assert page["log"].aria_role == "log"
    assert page["status"].aria_role == "status"
    assert page.errors() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1200, 800), (390, 780)])
def test_it_fits_every_screen(open_page, size, scheme):
    page = open_page()
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    page.join("ann", "screens")
    page.fill("text", "long " * 60)
    page.wait("long long")
    box = "const b = document.documentElement; return [b.scrollWidth, b.scrollHeight]"
    assert page.script(box) == [width, height]
    field = page["text"].rect
    assert field["y"] + field["height"] <= height
    assert field["width"] > 150
    assert page["log"].size["height"] > 200
    back = page.script("return getComputedStyle(document.body).backgroundColor")
    assert (back == "rgb(16, 20, 29)") == (scheme == "dark")


def test_a_missing_browser_fails_with_the_package(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium chromium-driver"):
        program("chromium")


def test_the_port_of_the_demo_in_use_has_a_mend(server):
    with Command("-m", "wsrelay", "demo", "--port", str(server.port)) as second:
        second.line(r"Error: cannot listen on .*: Address already in use; .*\(--port\)")
        assert second.status() == 1
