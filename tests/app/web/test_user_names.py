"""Whose name a verdict has: entered on the page, given by a proxy in a header, or by a JupyterHub."""

import http.client
import urllib.parse

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from astroanomaly.app.web.server import AppServer
from astroanomaly.app.web.user_header import named_user
from astroanomaly.errors import ConfigError
from astroanomaly.labels.log import LabelLog
from astroanomaly.session.folder import user_name
from web_pages import get, text_of, verdicts, wait_for


def names(session):
    with LabelLog.open(session.labels.path) as log:
        return [event.annotator for event in log.events()]


def status_with_headers(url, headers):
    """Status of an address, asked for with headers of which some come twice."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    try:
        connection.putrequest("GET", f"{parts.path}?{parts.query}")
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


def value_of(page, model, name):
    return page.evaluate("([m, n]) => Bokeh.documents[0].get_model_by_name(m)[n]", [model, name])


def label_as_somebody_else(page, session):
    """Tell the server, as a forged page would, that another name was entered; then give a verdict."""
    page.evaluate("Bokeh.documents[0].get_model_by_name('annotator').value = 'eve'")
    page.evaluate("Bokeh.documents[0].get_model_by_name('bus').annotator = 'eve'")
    page.keyboard.press("a")
    wait_for(lambda: len(verdicts(session)) > 0)
    return names(session)


def test_a_proxy_names_who_asks_and_nobody_else_can(new_session, start, chromium):
    session = new_session()
    campaign = session.assign(["ann"], random=7)
    url, port = start(session, "--user-header", "X-Forwarded-User")
    for wrong in ({}, {"X-Forwarded-User": ""}, {"X-Forwarded-User": "x" * 81}, {"X_Forwarded_User": "ann"}):
        status, text = get(url, **wrong)
        assert status == 403
        assert "X-Forwarded-User" in text
        assert "<input" not in text  # the token would not help
    assert status_with_headers(url, [("X-Forwarded-User", "ann"), ("X-Forwarded-User", "eve")]) == 403
    assert get(f"http://127.0.0.1:{port}/", **{"X-Forwarded-User": "ann"})[0] == 403  # a name alone lets nobody in
    assert get(url, **{"X-Forwarded-User": "ann"})[0] == 200
    context = chromium.new_context(extra_http_headers={"X-Forwarded-User": "ann"})
    try:
        page = context.new_page()
        page.goto(url)
        wait_for(lambda: "7 of 7 objects left" in text_of(page))  # the list of that name
        assert (value_of(page, "annotator", "value"), value_of(page, "annotator", "disabled")) == ("ann", True)
        assert label_as_somebody_else(page, session) == ["ann"]
        assert session.labels.events()[0].object_id == campaign.lists["ann"][0]
    finally:
        context.close()


def test_a_name_may_have_any_letters_as_proxies_send_them():
    for sent, name in (("ann", "ann"), ("ünal".encode().decode("latin-1"), "ünal"), ("\xfcnal", "ünal")):
        line = RequestStartLine("GET", "/", "HTTP/1.1")
        request = HTTPServerRequest(start_line=line, headers=HTTPHeaders({"Host": "h", "X-User": sent}))
        assert named_user(request, "X-User") == name


def test_on_a_hub_its_user_labels(new_session, start, chromium):
    session = new_session()
    hub = {"JUPYTERHUB_USER": "dora"}
    url, _ = start(session, environment=hub)
    context = chromium.new_context()
    try:
        page = context.new_page()
        page.goto(url)
        wait_for(lambda: "page 1" in text_of(page))
        assert (value_of(page, "annotator", "value"), value_of(page, "annotator", "disabled")) == ("dora", True)
        assert label_as_somebody_else(page, session) == ["dora"]
    finally:
        context.close()
    assert "dora, as JupyterHub says" in start.servers[0].log.read_text()


def test_the_name_of_a_hub_is_that_of_python_too(new_session, monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_USER", "dora")
    assert user_name() == "dora"
    session = new_session()
    session.label(session.cache.ids[0], "anomaly")
    assert names(session) == ["dora"]
    monkeypatch.setenv("JUPYTERHUB_USER", "")
    assert user_name() != ""


def test_a_header_that_cannot_be_is_refused(new_session):
    session = new_session()
    for wrong in ("X Forwarded User", "X-User:", "ü", "-", "x\n"):
        with pytest.raises(ConfigError, match="--user-header"):
            AppServer(session.path, user_header=wrong, port=0)
