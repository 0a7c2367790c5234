"""The demo in a real browser: Debian's chromium without a window."""

import signal

import pytest
from chromium import program
from commands import PATIENCE, Command, serving
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait


@pytest.fixture(scope="module")
def server():
    with serving("demo", "--port", "0") as command:
        yield command


class Page:
    """One window with the chat in it; what is asked of it first gives it the focus."""

    front = None  # the page that has the focus

    def __init__(self, chrome, url):
        self._chrome = chrome
        chrome.switch_to.new_window("tab")
        self.handle = chrome.current_window_handle
        Page.front = self
        chrome.get(url)

    @property
    def chrome(self):
        """The browser, with the focus on this window."""
        if Page.front is not self:
            self._chrome.switch_to.window(self.handle)
            Page.front = self
        return self._chrome

    def __getitem__(self, name):
        """The element of an id."""
        return self.chrome.find_element(By.ID, name)

    def fill(self, name, text):
        """Put a text into a field and send its form, sooner than by keys; they have their test."""
        self.script(
            "const field = document.getElementById(arguments[0]); field.value = arguments[1];"
            "field.dispatchEvent(new Event('input')); field.form.requestSubmit()",
            name,
            text,
        )

    def join(self, name, room):
        """Come in."""
        self["name"].send_keys(name)
        self.fill("room", room)
        self.wait(f"You are in {room}")
        return self

    def names(self, *elements):
        """What a screen reader calls them."""
        return [self[each].accessible_name for each in elements]

    def texts(self, selector):
        """What is seen of all elements of a CSS selector."""
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText.trim())"
        return self.script(script, selector)

    def lines(self):
        """The log."""
        return self.texts("#log li")

    def heads(self):
        """Who said the lines, when, and their numbers."""
        return self.texts("#log .said .head")

    def people(self):
        """Who is there; the letter in the circle is for the eye alone."""
        return self.script(
            "return [...document.querySelectorAll('#people li')].map(li => li.lastChild.data)"
        )

    def script(self, text, *args):
        """Run JavaScript in this window."""
        return self.chrome.execute_script(text, *args)

    def until(self, condition, what):
        """Wait until a condition of this page holds."""
        WebDriverWait(self.chrome, PATIENCE, 0.02).until(
            lambda _: condition(), f"{what}; log {self.lines()}, {self['status'].text}"
        )

    def wait(self, text):
        """Wait for a line in the log."""
        self.until(lambda: text in "\n".join(self.lines()), f"no line {text!r}")

    def wait_people(self, *names):
        """Wait until these are in the room."""
        self.until(lambda: self.people() == list(names), f"not there: {names}")

    def events(self):
        """What happened, as pairs of what and who saw it; see `event` for the rest."""
        return self.script(
            "return [...document.querySelectorAll('#events li')].map("
            "li => [li.dataset.kind, li.querySelector('.by').textContent])"
        )

    def event(self, kind, *texts):
        """Wait for an event of this kind, with all these texts in it; its text."""
        script = (
            "return [...document.querySelectorAll('#events li')].map("
            "li => [li.dataset.kind, li.textContent])"
        )

        def find():
            return next(
                (
                    text
                    for found, text in self.script(script)
                    if found == kind and all(each in text for each in texts)
                ),
                None,
            )

        self.until(find, f"no event {kind} {texts}; events {self.script(script)}")
        return find()

    def focus(self):
        """The id of what has the focus, or its text."""
        return self.script("const e = document.activeElement; return e.id || e.textContent.trim()")

    def press(self, *keys):
        """Press keys, wherever the focus is."""
        ActionChains(self.chrome).send_keys(*keys).perform()

    def tab_to(self, name):
        """Press Tab until that has the focus; what had it on the way."""
        way = []
        while not way or way[-1] != name:
            assert len(way) < 12, f"no way to {name}: {way}"
            self.press(Keys.TAB)
            way.append(self.focus())
        return way

    def press_view(self, name):
        """On a phone: show that part of the page."""
        self["views"].find_element(By.CSS_SELECTOR, f"[data-view={name}]").click()

    def emulate(self, width, height, **features):
        """Another screen, and other wishes of its user."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        media = [{"name": f"prefers-{name}", "value": value} for name, value in features.items()]
        self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})

    def errors(self):
        """What the browser complains of."""
        return [entry["message"] for entry in self.chrome.get_log("browser")]

    def close(self):
        """Close the window."""
        self.chrome.close()
        Page.front = None
        self._chrome.switch_to.window(self._chrome.window_handles[0])


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
    assert [(line[:3], line[-2:]) for line in ann.heads()] == [("ann", "#1"), ("Bob", "#2")]
    assert ann.heads() == bob.heads()

    ann["text"].send_keys("a")
    bob.until(lambda: bob["typing"].text == "ann is typing …", "nobody types")
    ann["text"].send_keys(Keys.BACKSPACE)
    bob.until(lambda: bob["typing"].text == "", "still typing")

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
    bob.wait("You moved to tea")
    texts = [line.split("\n")[-1] for line in bob.lines()]
    assert texts[:3] == ["hello Bob", "hello ann", "alone"]  # what the room remembers
    assert [line[-2:] for line in bob.heads()] == ["#1", "#2", "#3"]
    assert bob["pid"].text == pid
    assert (ann.errors(), bob.errors()) == ([], [])
    bob.event("ws.join", "room:tea")
    assert bob.events()[:4] == [
        ["open", "browser"], ["ws.join", "demo:lobby"], ["ws.control", "demo:lobby"],
        ["ws.join", "room:tea"],
    ]  # fmt: skip
    bob.event("ws.control", "room:tea", "Bob is handed to room garden", pid, "→ {demo:processes|")

    bob.close()
    ann.wait("Bob left")
    ann.wait_people("ann")
    ann.event("ws.leave", "Bob left: client_close", pid)
    ann.event("EXIT", "Bob ended: normal, close code", pid)


def test_a_killed_room_is_told_and_everybody_comes_back(open_page):
    ann = open_page().join("ann", "doomed")
    bob = open_page().join("bob", "doomed")
    ann.wait("bob joined")
    ann.fill("text", "the last words")
    bob.wait("the last words")
    old, pid = ann["process"].text, bob["pid"].text
    bob["text"].send_keys("unsent")
    ann["kill"].click()
    for page in (ann, bob):
        page.event("kill", "ann killed this room's process")
        page.event("close", "1011, target process failed; again in 0.")
        assert page["why"].get_property("textContent") == (
            "The connection closed: 1011, target process failed."
        )
        page.until(lambda page=page: page["status"].text == "Connected", "not again")
        page.wait_people("ann", "bob")
        assert not page["retry"].is_displayed()
        assert page["connects"].text == "2 times"
        assert page.lines()[0] == "The room is a new process: what was said is gone"
        assert page.errors() == []
    assert ann["process"].text == bob["process"].text != old
    assert bob["pid"].text != pid
    assert bob["text"].get_property("value") == "unsent"


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
    page.script("connection.send({say: 'y'.repeat(501)})")
    page.wait("The server did not take that: not understood")
    for wish in ("{move: '../x'}", "{move: '}'}", "{say: ' '}", "{say: 5}", "[]", "{sing: 1}"):
        before = len(page.lines())
        page.script(f"connection.send({wish})")
        page.until(lambda before=before: len(page.lines()) > before, wish)
        assert page.lines()[-1] == "The server did not take that: not understood"
    assert page["status"].text == "Connected"


def test_a_lost_connection_is_told_and_made_again(open_page):
    with serving("demo", "--port", "0") as first:
        port = first.port
        page = open_page(first, "#room=garden")
        page["name"].send_keys("ann\n")
        page.wait("You are in garden")
        pid = page["pid"].text
        first.signal(signal.SIGTERM)
        page.event("close", "1001, server shutting down; again in ")
        assert first.status() == 0
    page.until(lambda: page["countdown"].text.startswith("Again in "), "no countdown")
    for form in ("say", "move"):
        button = page[form].find_element(By.TAG_NAME, "button")
        assert button.get_attribute("aria-disabled") == "true"
    page.fill("text", "for later")
    page.event("close", "1006, no connection; again in ")
    assert page["why"].text == "The connection closed: 1006, no connection."
    with serving("demo", "--port", str(port)):
        page["now"].click()
        page.until(lambda: page["status"].text == "Connected", "not again")
        page.wait_people("ann")
        assert page["connects"].text == "2 times"
        assert page["text"].get_property("value") == "for later"
        page["say"].submit()
        page.wait("for later")
        assert page["pid"].text not in ("", pid)
        assert {"ERR_CONNECTION_REFUSED" in error for error in page.errors()} == {True}


def test_each_wait_is_longer_and_partly_random(open_page):
    page = open_page()
    waits = """
        const random = Math.random;
        Math.random = () => arguments[0];
        const connection = new Connection(() => "", {wait() {}});
        const waits = [...Array(8)].map(() => {
            const wait = connection.wait();
            clearInterval(connection.timer);
            return wait;
        });
        Math.random = random;
        return waits;
    """
    assert page.script(waits, 0) == [250, 500, 1000, 2000, 4000, 7500, 7500, 7500]
    assert page.script(waits, 1) == [500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]
    assert page.errors() == []


def test_keyboard_alone(open_page):
    page = open_page()
    # A browser heeds `autofocus` when it first draws the page, which may be after it has loaded.
    page.until(lambda: page.focus() == "name", "no focus")
    page.press("ann")
    assert page.tab_to("Join") == ["room", "Join"]
    page.press(Keys.ENTER)
    page.wait("You are in tea")
    assert page.focus() == "text"
    page.press("by keyboard", Keys.ENTER)
    page.wait("by keyboard")
    assert page.tab_to("next") == ["Send", "next"]
    page.press("garden", Keys.ENTER)
    page.wait("You moved to garden")
    assert page.focus() == "text"
    assert page.tab_to("events") == ["Send", "next", "Move", "kill", "events"]
    ActionChains(page.chrome).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
    assert page.focus() == "kill"
    page.press(Keys.ENTER)
    page.until(lambda: page["connects"].text == "2 times", "not killed")
    assert page.focus() == "kill"
    assert page.errors() == []


def test_screen_reader(open_page):
    page = open_page()
    assert page.names("name", "room", "theme") == ["Your name", "Room", "Dark colours"]
    page.join("ann", "names")
    assert page.names("text", "next", "log", "events", "talk", "people", "kill") == [
        "Message", "Move to a room", "Messages", "What happened", "Conversation", "",
        "Kill this process",
    ]  # fmt: skip
    roles = {name: page[name].aria_role for name in ("log", "status", "events", "chat")}
    assert roles == {"log": "log", "status": "status", "events": "list", "chat": "main"}
    assert page["why"].get_dom_attribute("role") == "alert"
    # Old lines are put in while the log is busy, and it isn't for long.
    assert page["log"].get_dom_attribute("aria-busy") == "false"
    assert page.errors() == []


# Every text that is seen, with what is behind it; and the contrasts under 4.5:1 (WCAG 2.2, 1.4.3).
LOW_CONTRASTS = """
const parse = (color) => {
  const [name, ...numbers] = color.match(/^rgba?|[\\d.]+/g);
  if (!name.startsWith("rgb")) throw new Error(color);
  return numbers.map(Number);
};
const light = (color) => {
  const [r, g, b] = parse(color).map(
    (c) => c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (e) => {
  const color = getComputedStyle(e).backgroundColor;
  return (parse(color)[3] ?? 1) === 1 ? color : behind(e.parentElement);
};
const found = [];
const judge = (text, e, style) => {
  if (!e.checkVisibility({visibilityProperty: true}) || e.closest("[aria-disabled=true]")) return;
  const [a, b] = [light(style.color), light(behind(e))].sort((x, y) => y - x);
  found.push([text, Math.round((a + 0.05) / (b + 0.05) * 100) / 100]);
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const {data, parentElement: e} = walker.currentNode;
  if (data.trim() && e.tagName !== "NOSCRIPT") judge(data, e, getComputedStyle(e));
}
for (const e of document.querySelectorAll("input")) {
  judge(e.value, e, getComputedStyle(e));
  if (e.placeholder) judge(e.placeholder, e, getComputedStyle(e, "::placeholder"));
}
return [found.length, found.filter(([, contrast]) => contrast < 4.5)];
"""

# Names of all hues, said by me and by others, and all that is only there when something is wrong.
ALL_COLOURS = """
const names = [...Array(24).keys()].map((i) => `name ${i}`);
window.hue = (name) => name.split(" ")[1] * 15;
showPeople(names);
for (const who of names)
  for (const mine of [true, false]) showLine({n: 1, at: 0, who, pid: "", text: who}, mine);
on.refused({why: "for the test"});
showEvent("close", "browser", "", "for the test");
showEvent("EXIT", "room", "ann", "for the test", "{a|b}", "{c|d}");
$("why").textContent = $("countdown").textContent = "Again";
$("retry").hidden = false;
"""

# Elements that are cut off, or that lie on another; and the size of the page.
PLACES = """
const seen = (e) => e.checkVisibility({visibilityProperty: true});
const box = (e) => e.getBoundingClientRect();
const parts = [...document.querySelectorAll("header, #retry, #views, #talk, #place, #trace")];
const found = [];
for (const e of parts.filter(seen)) {
  const a = box(e);
  if (a.left < 0 || a.top < 0 || a.right > innerWidth || a.bottom > innerHeight)
    found.push(`${e.id || e.tagName} is outside`);
  for (const f of parts.filter(seen)) {
    const b = box(f);
    if (e !== f && a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)
      found.push(`${e.id} is on ${f.id}`);
  }
}
for (const e of document.querySelectorAll("h1, h2, p, li, dd, code, button, input"))
  if (seen(e) && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== "inline")
    found.push(`${e.id || e.textContent} is too wide`);
const {scrollWidth, scrollHeight} = document.documentElement;
return [[scrollWidth, scrollHeight], found];
"""


def texts_of(page, size):
    """How many texts there are in all views, none of which is hard to read or out of its place."""
    texts = 0
    views = {"talk", "place", "trace"}
    for view in sorted(views):
        if size[0] < 500:
            page.press_view(view)
            assert {each for each in views if page[each].is_displayed()} == {view}
        assert page.script(PLACES) == [list(size), []]
        count, low = page.script(LOW_CONTRASTS)
        assert low == []
        texts += count
    return texts


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)], ids=["desktop", "phone"])
def test_it_fits_every_screen(open_page, size):
    page = open_page()

    def schemes():
        for scheme in ("light", "dark"):
            page.emulate(*size, **{"color-scheme": scheme, "reduced-motion": "reduce"})
            yield scheme

    for _ in schemes():
        assert page.script(PLACES) == [list(size), []]
        assert page.script(LOW_CONTRASTS)[1] == []
    page.join("ann", "screens")
    page.fill("text", "long " * 60)
    page.wait("long long")
    page.fill("text", "w" * 300)
    page.wait("www")
    assert page.script(PLACES) == [list(size), []]
    assert page["text"].size["width"] > 150
    assert page["log"].size["height"] > 200
    page.script(ALL_COLOURS)
    for scheme in schemes():
        back = page.script("return getComputedStyle(document.body).backgroundColor")
        assert (back == "rgb(16, 20, 29)") == (scheme == "dark")
        assert page.script("return document.getAnimations().length") == 0
        assert texts_of(page, size) > 200
    assert page.errors() == []


def test_the_end_of_the_lines_stays_in_sight(open_page):
    page = open_page()
    page.emulate(390, 844)
    page.join("ann", "ends")
    left = "const l = $('log'); return l.scrollHeight - l.scrollTop - l.clientHeight"
    page.script(ALL_COLOURS)
    page.until(lambda: page.script(left) < 2, "not at the end")
    page.emulate(390, 500)  # the keyboard of a phone comes up
    page.until(lambda: page.script(left) < 2, "not at the end of the small one")
    page.script("$('log').scrollTop = 0")
    page.until(lambda: page.script(left) > 100, "not at the start")
    page.script("$('log').addEventListener('scroll', () => $('log').dataset.seen = 1)")
    page.script("$('log').scrollTop = 5")
    page.until(lambda: page.script("return $('log').dataset.seen") == "1", "no scroll")
    page.fill("text", "far below")
    page.wait("far below")
    assert page.script("return $('log').scrollTop") == 5


def test_the_theme_is_a_choice_that_stays(open_page):
    page = open_page()
    page.emulate(1280, 800, **{"color-scheme": "light"})
    back = "return getComputedStyle(document.body).backgroundColor"
    light = page.script(back)
    try:
        page["theme"].click()
        dark = page.script(back)
        assert dark != light
        assert page.names("theme") == ["Light colours"]
        page.chrome.refresh()
        assert page.script(back) == dark
        page["theme"].click()
        assert page.script(back) == light
        page.emulate(1280, 800, **{"color-scheme": "dark"})
        assert page.script(back) == light
    finally:
        page.script("localStorage.clear()")
    page.chrome.refresh()
    assert page.script(back) == dark
    assert page.errors() == []


def test_a_missing_browser_fails_with_the_package(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium chromium-driver"):
        program("chromium")


def test_the_port_of_the_demo_in_use_has_a_mend(server):
    with Command("-m", "wsrelay", "demo", "--port", str(server.port)) as second:
        second.line(r"Error: cannot listen on .*: Address already in use; .*\(--port\)")
        assert second.status() == 1
