"""The app in a frame of a notebook: who reaches it, and under which address. Real kernels, a real browser."""

import re
import urllib.parse
from contextlib import contextmanager

import nbclient
import nbformat
import pytest

from astroanomaly.app.web.notebook import proxied_address
from astroanomaly.errors import ConfigError
from web_pages import get, headers_of, page_elsewhere, session_in, text_of, verdicts, wait_for, websocket


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


def test_the_app_in_a_frame_at_any_loopback_address_and_nobody_else(new_session, chromium):
    session = new_session()
    with kernel(session) as (html, run):
        port, key = re.search(r'"port": (\d+), "query": "\?token=([\w-]{32})"', html).groups()
        base = f"http://127.0.0.1:{port}/"
        for wrong in ("", "?token=", f"?token={key[:-1]}"):  # another account of the same computer
            for path in ("", "autoload.js", "metadata", "static/js/bokeh.min.js"):
                assert get(f"{base}{path}{wrong}")[0] == 403
        status, headers = headers_of(f"{base}?token={key}&from=http://hub.org:8888")
        assert status == 200
        frames = "frame-ancestors 'self' http://hub.org:8888"
        assert headers["Content-Security-Policy"].endswith(frames)
        assert get(f"{base}?token={key}")[0] == 403  # what the notebook's file keeps is good once
        cookie = headers["Set-Cookie"].split(";")[0]
        assert headers_of(base, Cookie=cookie)[1]["Content-Security-Policy"].endswith(frames)
        signed = session_in(get(base, Cookie=cookie)[1])
        assert websocket(port, session="x", Cookie=cookie) == 403
        for forged in ("e30.c2lnbmVk", "W10.x", "bnVsbA.x", "x.x", f"{signed[:-2]}xx"):  # {}, [], null, and no JSON
            assert websocket(port, session=forged) == 410
        assert websocket(port, session=signed, origin="http://hub.org") == 101
        key = re.search(r"token=([\w-]+)", run("session.app()"))[1]  # in VS Code, whose pages are of no web address
        headers = headers_of(f"{base}?token={key}&from=vscode-webview%3A%2F%2Fabc&from=vscode-file%3A%2F%2Fvscode-app")[
            1
        ]
        assert "frame-ancestors" not in headers["Content-Security-Policy"]
        assert headers_of(base, Cookie=cookie)[1]["Content-Security-Policy"].endswith(
            frames
        )  # no page of other servers
        for samp, hub in ((True, " http://localhost:21012"), (False, "")):
            key = re.search(r"token=([\w-]+)", run(f"session.app(samp={samp})"))[1]
            policy = headers_of(f"{base}?token={key}&from=http://hub.org:8888")[1]["Content-Security-Policy"]
            assert f"connect-src 'self'{hub};" in policy
        for arguments in ("height=5", "url='hub.org'"):
            with pytest.raises(nbclient.exceptions.CellExecutionError, match=arguments):
                run(f"session.app({arguments})")
        for number, host in enumerate(("localhost", "127.0.0.1")):
            shown = run("session.app(annotator='ann')")
            key = re.search(r"token=([\w-]+)", shown)[1]
            with page_elsewhere(f"<h1>a notebook</h1>{shown}", host) as url:
                context = chromium.new_context()
                try:
                    page = context.new_page()
                    page.goto(url)
                    wait_for(lambda page=page: len(page.frames) > 1 and "page 1" in text_of(page.frames[1]))
                    frame = page.frames[1]
                    assert urllib.parse.urlparse(frame.url).netloc == f"{host}:{port}"
                    assert key not in frame.url
                    page.keyboard.press("a")  # nobody has clicked into the app: the key is the notebook's
                    page.frame_locator("iframe").get_by_text("page 1").first.click()
                    page.keyboard.press("n")
                    wait_for(lambda number=number: verdicts(session) == ["nominal"] * (number + 1))
                    page.get_by_role("heading", name="a notebook").click()
                    page.keyboard.press("a")
                    link = page.get_by_role("link").get_attribute("href")
                    assert get(link)[0] == 200  # without a cookie: another browser opens it
                    context.clear_cookies()
                    frame.goto(frame.url)  # a frame that is loaded again comes back, also without cookies
                    wait_for(lambda frame=frame: "page 1" in text_of(frame))
                    page.reload()  # the notebook is loaded again: its key is void, but there is a cookie now
                    wait_for(lambda page=page: len(page.frames) > 1 and "page 1" in text_of(page.frames[1]))
                    assert verdicts(session) == ["nominal"] * (number + 1)
                    context.clear_cookies()
                    page.reload()
                    wait_for(lambda page=page: len(page.frames) > 1 and "run the cell" in text_of(page.frames[1]))
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
