"""The guide in docs/: what its pages say is so."""

import ast
import asyncio
import re

import pytest
from guide import DOCS, PAGES, blocks, follow_here, follow_in_process

from wsrelay import App
from wsrelay.config import KINDS, load_text
from wsrelay.config.fields import rows_of
from wsrelay.http.access import CLIENT_GONE
from wsrelay.middleware.table import MIDDLEWARE
from wsrelay.reference import reference


def test_processes(run_both):
    """Every example is the body of a process; its comments say what it prints."""
    page = DOCS / "processes.md"
    assert run_both(follow_in_process(page)) == len(
        [part for part in blocks(page) if part.language == "python"]
    )


def test_relay(run_both):
    page = DOCS / "relay.md"
    acted = [part for part in blocks(page) if part.language in ("python", "console")]
    assert run_both(follow_in_process(page)) == len(acted)


def test_services(run_both):
    page = DOCS / "supervision.md"
    acted = [part for part in blocks(page) if part.language == "python"]
    assert run_both(follow_here(page)) == len(acted)


# -- troubleshooting: every code and status that the source can send -------------------------------

ROOT = DOCS.parent
TROUBLE = (DOCS / "troubleshooting.md").read_text("utf-8")
ERRORS = {"HTTPError", "HandshakeError", "PlainTextResponse", "Response"}


def section(title):
    return TROUBLE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_cells(title):
    """The first cells of the rows of a section's table, and the rest of each row."""
    rows = [line for line in section(title).splitlines() if line.startswith("| ")]
    return [row.strip("| ").split(" | ", 1) for row in rows[1:]]


def numbers(text, least, most):
    return {int(one) for one in re.findall(r"\b\d+\b", text) if least <= int(one) <= most}


def statuses_of(tree):
    """Statuses from 400 up that stand in a call of a response or an error, with their texts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ERRORS:
            inside = [
                one for argument in (*node.args, *node.keywords) for one in ast.walk(argument)
            ]
            constants = [one.value for one in inside if isinstance(one, ast.Constant)]
            for status in constants:
                if type(status) is int and 400 <= status <= 599:
                    yield status, [one for one in constants if isinstance(one, str)]


def sources():
    for path in sorted((ROOT / "wsrelay").rglob("*.py")):
        if "demo" not in path.parts:
            yield path, ast.parse(path.read_text("utf-8"))


def test_every_status_is_explained():
    told = {
        status for cell, _ in first_cells("By HTTP status") for status in numbers(cell, 400, 599)
    }
    sent = {status for _, tree in sources() for status, _ in statuses_of(tree)}
    assert told == sent | {CLIENT_GONE}
    assert {400, 403, 413, 426, 429, 500, 503} < sent  # so the search finds something


def test_every_answer_to_a_handshake_is_explained():
    """Its text too: it is what people search for."""
    for path, tree in sources():
        if path.name in ("relay.py", "handshake.py", "origin.py", "extensions.py"):
            for status, texts in statuses_of(tree):
                for text in texts:
                    rows = [
                        rest for cell, rest in first_cells("By HTTP status") if str(status) == cell
                    ]
                    assert any(text in row for row in rows) or "-" in text, (status, text)


def closings():
    """Close codes of the source with their reasons: of what begins a close, and of the codec."""
    core = ROOT / "wsrelay_core"
    text = "".join(path.read_text("utf-8") for path in sorted(core.glob("*.pyx")))
    yield from re.findall(r'begin_close\((\d{4}), "([^"]*)"', text)
    yield from re.findall(
        r'\((\d{4}), "([^"]+)"\)', (ROOT / "wsrelay/lifecycle.py").read_text("utf-8")
    )
    codes = dict(re.findall(r"(\w+) = (1\d{3})$", (core / "_wire.pxd").read_text("utf-8"), re.M))
    yield from ((code, "") for code in codes.values())
    for name, reason in re.findall(r'_fail\((\w+), "([^"]+)"\)', text):
        if reason != "internal error":  # only stops the codec: the close frame is queued, with 1011
            yield codes[name], reason
    yield from ((codes["MESSAGE_TOO_BIG"], one) for one in re.findall(r'_too_big\("([^"]+)"', text))


def test_every_close_code_is_explained():
    rows = first_cells("By close code")
    found = set(closings())
    assert len(found) > 15
    for code, reason in found:
        assert any(code in cell and reason in cell for cell, _ in rows), (code, reason)
    told = {code for cell, _ in rows for code in numbers(cell, 1000, 4999)}
    assert told == {int(code) for code, _ in found}


def test_every_cause_is_explained():
    """Each word that `ws.leave` and the close record may have, in both pages."""
    text = "".join(path.read_text("utf-8") for path in (ROOT / "wsrelay_core").glob("*.pyx"))
    causes = set(
        re.findall(
            r'"([a-z]+_[a-z_]+|cancelled|terminated)", ?\s*"(?:server|client|network)"', text
        )
    )
    causes |= set(re.findall(r'(?:TOO_BIG|INVALID_DATA): "(\w+)"', text))
    causes |= {"protocol_error", "server_shutdown"}
    assert len(causes) == 16
    relay = (DOCS / "relay.md").read_text("utf-8").split("\n## Ends\n")[1].split("\n### ")[0]
    for cause in causes:
        assert f"`{cause}`" in section("By close code"), cause
        assert f"| `{cause}` |" in relay, cause


def test_every_logger_is_explained():
    text = "".join(path.read_text("utf-8") for path in (ROOT / "wsrelay").rglob("*.py"))
    names = set(re.findall(r'(?:getLogger|logger_of)\("(wsrelay\.\w+)"\)', text))
    assert len(names) > 8
    table = (DOCS / "logging.md").read_text("utf-8")
    told = "".join(line for line in table.splitlines() if line.startswith("| `wsrelay."))
    assert {name for name in names if f"`{name}`" not in told} == set()


# -- all pages -------------------------------------------------------------------------------------


def test_the_reference_is_what_the_generator_gives():
    committed = (DOCS / "configuration.md").read_text("utf-8")
    assert committed == reference(), "python -m wsrelay.reference > docs/configuration.md"


def test_the_reference_has_everything():
    page = reference()
    for kind, table in KINDS.items():
        part = page.split(f"\n### `{kind}`\n")[1].split("\n### ")[0]
        for at in rows_of(table):
            assert f"| `{at}` |" in part, (kind, at)
    for name, kind in MIDDLEWARE.items():
        part = page.split(f"\n### `{name}`\n")[1].split("\n### ")[0]
        for option in kind.options:
            assert option.about and f"| `{option.name}` |" in part, option.name
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert not [row for row in rows if row.endswith("|  |")]
    assert [row[:9] for row in rows if "| anything |" in row] == ["| `input`"]
    assert "| `lifecycle.restart.jitter` | number from 0 to 1 | `0.1` | " in page
    assert "| `wsrelay.queue.max` | size | `1MiB` | " in page
    assert "| `wsrelay.queue.policy` | `close`, `drop_newest` or `drop_oldest` | `close` | " in page


def test_the_middleware_of_the_reference():
    (code,) = (part for part in blocks(DOCS / "configuration.md") if part.language == "python")
    names = {}
    exec(code.text, names)
    app = names["app"]

    async def main():
        async with app.running() as server, asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /api/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
        assert b"\r\nX-Served-By: me\r\n" in answer and b"X-RateLimit-Limit: 30\r\n" in answer

    asyncio.run(main())


RUN = {"first-app", "processes", "relay", "supervision", "configuration"}


def test_no_example_is_left_out():
    """Python stands only on pages whose Python is run."""
    found = {page.stem for page in PAGES for part in blocks(page) if part.language == "python"}
    assert found == RUN | {"deployment"}  # that one's is run by tests/deployment


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_yaml_loads(page):
    for part in blocks(page):
        if part.language == "yaml":
            head = "" if "entries:" in part.text else 'version: "1.0"\nnamespace: app\nentries:\n'
            load_text(head + part.text, f"{page.name}, line {part.line}")


def test_the_services_of_the_file(tmp_path):
    """The YAML of the page is its Python, so the functions are there."""
    first, *_ = (part for part in blocks(DOCS / "supervision.md") if part.language == "python")
    (tmp_path / "services.py").write_text(first.text)
    (written,) = (part for part in blocks(DOCS / "supervision.md") if part.language == "yaml")
    (tmp_path / "app.yaml").write_text(written.text)
    here, there = App.from_file(tmp_path / "app.yaml"), {}
    exec(first.text, there)
    assert here.supervisor.status() == there["app"].supervisor.status() != []
    ours, theirs = (
        [service.lifecycle for service in app.supervisor._services.values()]
        for app in (here, there["app"])
    )
    assert [one.restart for one in ours] == [one.restart for one in theirs]
    assert [[f"app:{name}" for name in one.requires] for one in theirs] == [
        one.requires for one in ours
    ]


# -- links -----------------------------------------------------------------------------------------


def anchors(page):
    """What GitHub and MyST make of headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


POLICY = ROOT / ".github" / "SECURITY.md"


@pytest.mark.parametrize("page", [*PAGES, POLICY], ids=lambda page: page.stem)
def test_no_gap_is_left_to_fill_in(page):
    assert re.findall(r"@[A-Z]+@|\bTODO\b|\bto come\b", page.read_text("utf-8")) == []


@pytest.mark.parametrize("page", [*PAGES, POLICY], ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    assert len(set(anchors(page))) == len(list(anchors(page)))
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(\s*([^)\s]+)\s*\)", text):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_found_from_the_index():
    index = (DOCS / "index.md").read_text("utf-8")
    missing = {page.name for page in PAGES if f"({page.name})" not in index}
    assert missing == {"index.md"}


def test_the_policy_of_security_leads_to_its_page():
    assert "(../docs/security.md)" in POLICY.read_text("utf-8")
