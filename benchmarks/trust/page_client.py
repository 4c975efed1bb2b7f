"""A page of the app without a browser: it opens the websocket, presses keys, and waits until each is answered."""

from __future__ import annotations

import asyncio
import http.cookies
import json
import re
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bokeh.protocol import Protocol
from bokeh.protocol.receiver import Receiver
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import websocket_connect

import astroanomaly.app.view.browser  # noqa: F401 - the model of the messages

__all__ = ["PageClient", "address_in", "label_for_ever"]

_WAIT_S = 120.0
_MAX_MESSAGE = 200 * 2**20


def address_in(log: Path, timeout_s: float = _WAIT_S) -> str:
    """Return the address that a server has said, once it has said it."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        text = re.sub(r"\s*\n\s*", "", log.read_text(errors="replace")) if log.exists() else ""
        found = re.search(r"open (http://[\d.]+:\d+[^\s]*?/(\?token=[\w-]{32})?)", text)
        if found and "Ctrl-C" in text:
            return found[1]
        time.sleep(0.02)
    raise TimeoutError(f"no address in {log}: {log.read_text()[-500:] if log.exists() else ''}")


class PageClient:
    """One page.

    Parameters
    ----------
    address
        Of the app, with the token if there is one.
    annotator, usual
        Name to label under, and the one that the server was started with.
    """

    def __init__(self, address: str, annotator: str, usual: str) -> None:
        self._address = urllib.parse.urlsplit(address)
        name = urllib.parse.quote(json.dumps([usual, annotator]))
        self._cookies = {"astroanomaly-name": name}
        self._receiver = Receiver(Protocol())
        self._presses = 0

    async def open(self) -> PageClient:
        """Load the page, and open its websocket."""
        html = await self._load()
        token = re.search(r'"token":"([^"]+)"', html)
        if token is None:
            raise ConnectionError(f"the page has no session: {html[:300]}")
        where = f"{self._address.netloc}{self._address.path.rstrip('/')}"
        headers = {"Origin": f"http://{self._address.netloc}", "Cookie": self._cookie_text()}
        request = HTTPRequest(f"ws://{where}/ws", headers=headers, request_timeout=_WAIT_S)
        self._socket = await websocket_connect(request, subprotocols=["bokeh", token[1]], max_message_size=_MAX_MESSAGE)
        await self._receive()  # the server says that it is there
        await self._send({"msgid": "1", "msgtype": "PULL-DOC-REQ"}, {})
        while (message := await self._receive()).msgtype != "PULL-DOC-REPLY":
            pass
        models = (part for part in _parts(message.content["doc"]) if part.get("attributes", {}).get("name") == "bus")
        self._bus = next(models)["id"]
        return self

    async def press(self, key: str) -> float:
        """Press a key; return after how many seconds it was answered.

        Raises
        ------
        ConnectionError
            If the server is gone, or says that it failed.
        """
        self._presses += 1
        number = f"key-{self._presses}"
        changes = [("key", key), ("n", self._presses)]
        events = [
            {"kind": "ModelChanged", "model": {"id": self._bus}, "attr": name, "new": value} for name, value in changes
        ]
        began = time.monotonic()
        await self._send({"msgid": number, "msgtype": "PATCH-DOC"}, {"events": events})
        while True:
            message = await self._receive()
            if message.msgtype == "OK" and message.header.get("reqid") == number:
                return time.monotonic() - began
            if message.msgtype == "ERROR":
                raise ConnectionError(f"the server says {message.content}")

    def close(self) -> None:
        """Close the page."""
        self._socket.close()

    async def _load(self) -> str:
        address = self._address.geturl()
        for _ in range(5):  # a server may send the browser on once the token has become a cookie
            request = HTTPRequest(
                address, headers={"Cookie": self._cookie_text()}, request_timeout=_WAIT_S, follow_redirects=False
            )
            reply = await AsyncHTTPClient().fetch(request, raise_error=False)
            for text in reply.headers.get_list("Set-Cookie"):
                self._cookies |= {name: one.value for name, one in http.cookies.SimpleCookie(text).items()}
            if reply.code not in (301, 302, 303, 307):
                break
            address = urllib.parse.urljoin(address, reply.headers["Location"])
        if reply.code != 200:
            raise ConnectionError(f"the page answers {reply.code}")
        return reply.body.decode()

    def _cookie_text(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self._cookies.items())

    async def _send(self, header: dict[str, Any], content: dict[str, Any]) -> None:
        for part in (header, {}, content):
            await self._socket.write_message(json.dumps(part))

    async def _receive(self) -> Any:
        while True:
            fragment = await asyncio.wait_for(asyncio.ensure_future(_next(self._socket)), _WAIT_S)
            if fragment is None:
                raise ConnectionError("the server has closed the connection")
            message = await self._receiver.consume(fragment)
            if message is not None:
                return message


async def label_for_ever(address: str, annotator: str, usual: str, kept: Path, keys: Iterator[str]) -> None:
    """Press keys, and write into a file how many verdicts and the like were answered, until the server is gone."""
    page = await PageClient(address, annotator, usual).open()
    with kept.open("w", buffering=1) as file:
        for number, key in enumerate(keys, 1):
            await page.press(key)
            file.write(f"{key}\n")
            if number % 20 == 0:
                await page.press(" ")


async def _next(socket: Any) -> Any:
    return await socket.read_message()


def _parts(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for part in tree:
            yield from _parts(part)
