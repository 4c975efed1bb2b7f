"""The app in a real JupyterLab, and behind its server's proxy, in a real browser; off unless asked for."""

import os
import re
import subprocess
import sys
import time

import nbformat
import pytest

from web_pages import free_port, get, text_of, verdicts, wait_for

pytestmark = pytest.mark.jupyter

TOKEN = "lab-token"
BASE = "/user/ann/"


@pytest.fixture
def lab(tmp_path):
    """Start JupyterLab below a path, as a hub does, with one notebook; gives its port."""
    root = tmp_path / "root"
    root.mkdir()
    port, log = free_port(), tmp_path / "lab.log"
    settings = {
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.base_url": BASE,
        "ServerApp.root_dir": root,
        "ServerApp.allow_remote_access": True,
        "ServerApp.allow_root": True,
        "ServerApp.open_browser": False,
        "IdentityProvider.token": TOKEN,
    }
    command = [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in settings.items())]
    places = {name: str(tmp_path / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env={**os.environ, **places}
        )
    try:
        end = time.monotonic() + 90
        while not re.search(r"Jupyter Server .* is running at", log.read_text()):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def write_notebook(path, session):
    cell = f"from astroanomaly import Session\nSession.open({str(session.path)!r}).app(annotator='ann', height=700)"
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, path)


def frame_of(page):
    return page.locator(".jp-OutputArea iframe").element_handle().content_frame()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "hub.example"])
def test_label_in_jupyterlab(new_session, lab, chromium, tmp_path, host):
    """On this computer the frame reaches the kernel; from elsewhere it goes through the proxy of Jupyter's server."""
    session = new_session()
    write_notebook(tmp_path / "root" / "book.ipynb", session)
    context = chromium.new_context(viewport={"width": 1600, "height": 1100})
    try:
        page = context.new_page()
        page.goto(f"http://{host}:{lab}{BASE}lab/tree/book.ipynb?token={TOKEN}")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        page.get_by_text("| Idle").wait_for()  # the kernel is there
        page.locator(".jp-Cell .jp-InputArea-editor").first.click()
        page.keyboard.press("Shift+Enter")
        page.wait_for_selector(".jp-OutputArea iframe[src]")
        address = page.locator(".jp-OutputArea iframe").get_attribute("src")
        if host == "hub.example":
            assert re.match(rf"http://hub\.example:{lab}{BASE}proxy/\d+/\?token=", address)
        else:
            assert re.match(rf"http://{re.escape(host)}:\d+/\?token=", address)
            assert f":{lab}/" not in address
        wait_for(lambda: "page 1" in text_of(frame_of(page)))
        page.frame_locator(".jp-OutputArea iframe").get_by_text("page 1").first.click()
        page.keyboard.press("a")
        wait_for(lambda: verdicts(session) == ["anomaly"])
        page.keyboard.press("n")
        wait_for(lambda: verdicts(session) == ["anomaly", "nominal"])
        assert page.locator(".jp-Cell").count() <= 2  # none of the keys was a command of the notebook
        page.locator(".jp-Cell .jp-InputArea-prompt").first.click()  # out of the frame
        page.keyboard.press("Control+s")
        file = tmp_path / "root" / "book.ipynb"
        wait_for(lambda: "token=" in file.read_text())
        key = re.search(r"token=([\w-]+)", file.read_text())[1]  # other accounts may be able to read the file
        kernel = re.search(r'"port\\": (\d+)', file.read_text())[1]
        assert get(f"http://127.0.0.1:{kernel}/?token={key}")[0] == 403
        page.reload()  # and so may the page: what it has is void, and its cookie holds
        page.wait_for_selector(".jp-OutputArea iframe[src]")
        wait_for(lambda: "page 1" in text_of(frame_of(page)))
        picture = os.environ.get("ASTROANOMALY_PICTURES")
        if picture:
            page.screenshot(path=f"{picture}/jupyterlab.png")
    finally:
        context.close()


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ((), "proxy/{port}"),
        (("--prefix", "/user/ann/proxy/{port}"), "proxy/{port}"),
        (("--prefix", "/user/ann/proxy/absolute/{port}"), "proxy/absolute/{port}"),
    ],
)
def test_serve_behind_the_proxy_of_jupyter(new_session, lab, chromium, tmp_path, words, path):
    """With the path taken off, whether the app knows it or not, and with the path left on."""
    session = new_session()
    port, log = free_port(), tmp_path / "server.log"
    command = [sys.executable, "-m", "astroanomaly", "serve", str(session.path), "--no-browser", "--no-background"]
    words = [word.format(port=port) for word in words]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port), *words, "--allow-websocket-origin", f"hub.example:{lab}"],
            stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    context = chromium.new_context()
    try:
        wait_for(lambda: "open http" in log.read_text())
        page = context.new_page()
        failed = []
        page.on("response", lambda reply: failed.append(reply.url) if reply.status >= 400 else None)
        address = f"{BASE}{path.format(port=port)}/"
        page.goto(f"http://hub.example:{lab}{BASE}tree?token={TOKEN}")  # to be known to Jupyter
        token = re.search(r"token=(\S+)", log.read_text())[1]
        failed.clear()
        page.goto(f"http://hub.example:{lab}{address}?token={token}")
        wait_for(lambda: "page 1" in text_of(page))
        page.keyboard.press("a")
        wait_for(lambda: verdicts(session) == ["anomaly"])
        assert page.url == f"http://hub.example:{lab}{address}"
        page.reload()
        wait_for(lambda: "page 1" in text_of(page))
        mine = [cookie for cookie in context.cookies() if re.fullmatch("astroanomaly-[0-9a-f]{12}", cookie["name"])]
        assert [cookie["path"] for cookie in mine] == [address.rstrip("/")]  # no other server of the hub gets it
        assert [url for url in failed if "favicon" not in url] == []
        assert "Bokeh" not in get(f"http://127.0.0.1:{lab}{address}")[1]  # Jupyter asks for its own token
    finally:
        context.close()
        process.terminate()
        process.wait(30)
