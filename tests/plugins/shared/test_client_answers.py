"""Answers that have no end, unpack to far more than they are, or are nested without end: none is read to its end."""

import gzip

import pytest
import requests

from astroanomaly import FetchError
from astroanomaly_plugins.hst.client_safety import json_of, prepare
from astroanomaly_plugins.shared import client_answers
from astroanomaly_plugins.shared.client_answers import check_answer, understood
from servers.base import Answer, Server

LONG = 4 * 2**20  # bytes that the server sends
MOST = 2**18  # that may be read


class Archive(Server):
    """Answers as its paths say."""

    def answer(self, asked):
        if asked.path == "/packed":
            return Answer(gzip.compress(bytes(LONG)), headers={"Content-Encoding": "gzip"})
        if asked.path == "/elsewhere":
            return Answer(bytes(LONG), status=302, headers={"Location": "/good"})
        if asked.path == "/error":
            return Answer(b"Out of order. " * 10**5, "text/plain", 500)
        if asked.path == "/deep":
            return Answer(b'{"a":' * 10**5, "application/json")
        return Answer(b'{"a": 1}' if asked.path == "/good" else b" " * LONG, "application/json")


@pytest.fixture
def server():
    with Archive() as running:
        yield running


@pytest.fixture(params=["table", "JSON"])
def session(request, monkeypatch):
    """A session of a client, guarded as those of tables are, and as those of JSON."""
    monkeypatch.setattr(client_answers, "MOST_TABLE_BYTES", MOST)
    with requests.Session() as made:
        if request.param == "table":
            made.hooks["response"].append(check_answer)
        else:
            prepare(made, most_bytes=lambda response: MOST)
        yield made


@pytest.mark.parametrize("path", ["long", "packed"])
def test_an_answer_is_read_up_to_a_bound(server, session, path):
    with pytest.raises(FetchError, match=r"longer than 0\.26.* MB"):
        session.get(f"{server.url}/{path}")
    with pytest.raises(FetchError, match=r"longer than"), session.get(f"{server.url}/{path}", stream=True) as response:
        response.content
    assert session.get(f"{server.url}/good").json() == {"a": 1}  # on whatever connection is left


def test_of_redirects_nothing_is_read_and_of_errors_the_beginning(server, session):
    answer = session.get(f"{server.url}/elsewhere")
    assert answer.json() == {"a": 1}
    assert [len(earlier.content) for earlier in answer.history] == [0]
    try:
        page = session.get(f"{server.url}/error")
    except requests.HTTPError as error:
        page = error.response
    assert page.status_code == 500
    assert page.text.startswith("Out of order. Out of order. ")
    assert len(page.content) == 20_000
    assert session.get(f"{server.url}/good").json() == {"a": 1}


def test_json_without_an_end_is_no_json(server):
    with requests.Session() as session:
        prepare(session, lambda response: json_of(response) and None)
        with pytest.raises(FetchError, match=r"the answer: the JSON that came is damaged") as caught:
            session.get(f"{server.url}/deep")
    assert caught.value.retryable


@pytest.mark.parametrize("take", [lambda: {}["a"], lambda: int("a"), lambda: [][0], lambda: None.lower()])
def test_an_answer_of_another_make_is_no_traceback(take):
    with pytest.raises(FetchError, match="list of images: the answer is not understood"), understood("list of images"):
        take()


def test_an_error_that_says_what_is_wrong_stays_as_it_is():
    with pytest.raises(FetchError, match=r"^what was wrong$"), understood("list of images"):
        raise FetchError("what was wrong")
