"""The app in a frame of a notebook: who reaches it, and under which address. Real kernels, a real browser."""

import http.server
import re
import threading
import urllib.parse
from contextlib import contextmanager

import nbclient
import nbformat
import pytest

from astroanomaly.app.web.notebook import proxied_address
from astroanomaly.errors import ConfigError
from web_pages import free_port, get, text_of, verdicts, wait_for, websocket


@contextmanager
def kernel(session):
    """Show the app from a cell in a real kernel; gives the markup of its output, and what runs further cells."""
    shown = (
        f"from astroanomaly import Session\nsession = Session.open({str(session.path)!r})\nsession.app(annotator='ann')"
    )
    book = nbformat.v4.new_notebook()
    client = nbclient.NotebookClient(book, timeout=120, kernel_name="python3")

    def run(code):
        book.cells.append(nbformat.v4.new_code_cell(code))
        client.execute_cell(book.cells[-1], len(book.cells) - 1)
        return "".join(output["data"]["text/html"] for output in book.cells[-1].outputs if "data" in output)

    with client.setup_kernel():
        yield run(shown), run


@contextmanager
def served(html, folder, host):
    """Serve a page with the output of a cell, as a notebook does; gives its address."""
    folder.mkdir()
    text = f"<!doctype html><meta charset=utf-8><body><h1>a notebook</h1>{html}</body>"
    (folder / "index.html").write_text(text, encoding="utf-8")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *arguments):
            pass

    port = free_port()
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Quiet) as pages:
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        try:
            yield f"http://{host}:{port}/index.html"
        finally:
            pages.shutdown()


def test_the_app_in_a_frame_at_any_loopback_address_and_nobody_else(new_session, chromium, tmp_path):
    session = new_session()
    with kernel(session) as (html, run):
        found = re.search(r"http://127\.0\.0\.1:(\d+)/\?token=([\w-]{32})", html)
        port, token = int(found[1]), found[2]
        base = f"http://127.0.0.1:{port}/"
        for wrong in ("", "?token=", f"?token={token[:-1]}"):  # another account of the same computer
            assert get(f"{base}{wrong}")[0] == 403
            assert get(f"{base}autoload.js{wrong}")[0] == 403
            assert get(f"{base}metadata{wrong}")[0] == 403
        assert websocket(port) == 403
        for forged in ("e30.c2lnbmVk", "W10.x", "bnVsbA.x", "x.x"):  # {}, [], null, and no JSON at all
            assert websocket(port, **{"Sec-WebSocket-Protocol": f"bokeh, {forged}"}) == 403
        status, text = get(f"{base}?token={token}")
        assert status == 200
        signed = re.search(r'"token":"([^"]+)"', text)[1]
        assert websocket(port, **{"Sec-WebSocket-Protocol": f"bokeh, {signed}"}) == 101
        assert websocket(port, **{"Sec-WebSocket-Protocol": f"bokeh, {signed[:-2]}xx"}) == 403
        for arguments in ("height=5", "url='hub.org'"):
            with pytest.raises(nbclient.exceptions.CellExecutionError, match=arguments):
                run(f"session.app({arguments})")
        for number, host in enumerate(("localhost", "127.0.0.1")):
            with served(html, tmp_path / str(number), host) as url:
                context = chromium.new_context()
                try:
                    page = context.new_page()
                    page.goto(url)
                    wait_for(lambda page=page: len(page.frames) > 1 and "page 1" in text_of(page.frames[1]), 60)
                    frame = page.frames[1]
                    assert urllib.parse.urlparse(frame.url).netloc == f"{host}:{port}"
                    page.keyboard.press("a")  # nobody has clicked into the app: the key is the notebook's
                    page.frame_locator("iframe").get_by_text("page 1").first.click()
                    page.keyboard.press("n")
                    wait_for(lambda number=number: verdicts(session) == ["nominal"] * (number + 1))
                    page.get_by_role("heading", name="a notebook").click()
                    page.keyboard.press("a")
                    frame.goto(frame.url)  # a frame that is loaded again comes back
                    wait_for(lambda frame=frame: "page 1" in text_of(frame))
                    assert verdicts(session) == ["nominal"] * (number + 1)
                    assert context.cookies() == []
                finally:
                    context.close()


def test_outside_of_a_notebook_the_command_is_named(new_session):
    with pytest.raises(ConfigError, match="astroanomaly serve"):
        new_session().app()


def test_the_address_behind_a_proxy_comes_from_the_environment():
    assert proxied_address(5, {}) == ""
    assert proxied_address(5, {"JUPYTERHUB_SERVICE_PREFIX": "/user/ann/"}) == ""  # the page knows it
    hub = {"JUPYTER_BOKEH_EXTERNAL_URL": "https://hub.org", "JUPYTERHUB_SERVICE_PREFIX": "/user/ann/"}
    assert proxied_address(5, hub) == "https://hub.org/user/ann/proxy/5/"
    code = {"VSCODE_PROXY_URI": "https://code.org/x/proxy/{{port}}"}
    assert proxied_address(5, code) == "https://code.org/x/proxy/5/"
    assert proxied_address(5, hub | code) == "https://hub.org/user/ann/proxy/5/"
    for wrong in ("javascript:{port}", "https://code.org/", "code.org/{port}"):
        with pytest.raises(ConfigError, match="port"):
            proxied_address(5, {"VSCODE_PROXY_URI": wrong})
