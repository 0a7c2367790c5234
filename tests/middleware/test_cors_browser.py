"""`cors` as a real browser sees it: a page of one port asks a server on another."""

import pytest
from commands import Command

APP = """
version: "1.0"
namespace: app
entries:
  - {name: gateway, kind: http.service}
  - name: router
    kind: http.router
    meta: {server: gateway}
    prefix: /api
    middleware: [cors, ratelimit, compress]
    options:
      cors.allow.origins: "${env:PAGES|http://none.example}"
      cors.allow.credentials: true
      cors.allow.headers: "Content-Type, X-Ours"
      cors.expose.headers: "X-Seen, X-RateLimit-Limit"
  - name: seen
    kind: http.endpoint
    meta: {router: router}
    method: PUT
    path: /seen
    func: handlers:seen
  - {name: page, kind: http.router, meta: {server: gateway}}
  - name: index
    kind: http.endpoint
    meta: {router: page}
    method: GET
    path: /
    func: handlers:index
"""
HANDLERS = """
from wsrelay import JSONResponse, Response

calls = []


def index(request):
    response = Response("<!doctype html><link rel=icon href='data:,'>page", media_type="text/html")
    response.set_cookie("who", "ann")
    return response


async def seen(request):
    calls.append(request.method)
    answer = {"body": await request.json(), "cookies": request.cookies, "calls": calls}
    return JSONResponse({**answer, "long": "a" * 5000}, headers={"X-Seen": "yes", "X-Hidden": "no"})
"""
ASK = """
const [url, options, done] = arguments
fetch(url, {method: 'PUT', body: '[1]', credentials: 'include', ...options}).then(
  async answer => done([answer.status, answer.headers.get('x-seen'), answer.headers.get('x-hidden'),
    answer.headers.get('x-ratelimit-limit'), answer.status == 200 ? await answer.json() : null]),
  error => done(error.name))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("cors")
    (path / "app.yaml").write_text(APP)
    (path / "handlers.py").write_text(HANDLERS)
    return path


def server(folder, **env):
    return Command("-m", "wsrelay", "run", "app.yaml", "--port", "0", cwd=folder, **env)


def test_a_page_of_another_port(chrome, folder):
    with server(folder) as pages:
        page = f"http://127.0.0.1:{pages.listening().port}"
        with server(folder, PAGES=page) as api:
            url = f"http://127.0.0.1:{api.listening().port}/api"
            ours = {"headers": {"Content-Type": "application/json", "X-Ours": "1"}}
            theirs = {"headers": {"X-Theirs": "1"}}

            def ask(path="/seen", options=ours):
                return chrome.execute_async_script(ASK, url + path, options)

            chrome.switch_to.new_window("tab")
            chrome.get(page)
            status, *headers, answer = ask()
            assert (status, headers) == (200, ["yes", None, "120"])
            assert answer.pop("long") == "a" * 5000
            # The preflight before it did not reach the handler.
            assert answer == {"body": [1], "cookies": {"who": "ann"}, "calls": ["PUT"]}
            assert ask(options=theirs) == "TypeError"
            assert ask(options={"method": "PURGE"}) == "TypeError"
            assert ask("/nowhere")[0] == 404
            assert ask(options={**ours, "method": "PATCH"})[0] == 405
            # The same server by another name is another origin, which was not named.
            chrome.get(page.replace("127.0.0.1", "localhost"))
            assert ask() == "TypeError"
            complaints = " ".join(entry["message"] for entry in chrome.get_log("browser"))
            assert "x-theirs is not allowed by Access-Control-Allow-Headers" in complaints
            assert "Method PURGE is not allowed by Access-Control-Allow-Methods" in complaints
            assert "No 'Access-Control-Allow-Origin' header is present" in complaints
            chrome.get(page)
            assert ask()[-1]["calls"] == ["PUT", "PUT"]
            chrome.close()
            chrome.switch_to.window(chrome.window_handles[0])
