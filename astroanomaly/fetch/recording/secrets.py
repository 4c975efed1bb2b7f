"""Hide secrets in what is recorded: what has the name of a secret, and every secret that was seen, however encoded."""

from __future__ import annotations

import base64
import html
import json
import os
import re
import threading
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote_plus, urlsplit, urlunsplit

__all__ = ["HIDDEN", "Headers", "Secrets"]

HIDDEN = "hidden"
Headers = list[tuple[str, str]]

_SECRET_NAME = re.compile(  # of a header, a field of a form, a part of a query, a variable of the environment
    r"(?i)password|passwd|passphrase|pwd|token|secret|api[-_]?key|access[-_]?key|signature|authorization|cookie"
    r"|session[-_]?id|credential|certificate|^(?:x[-_]amz[-_]security|pass|sig|ticket|auth)$"
)
_USER_NAME = re.compile(r"(?i)(?:^|[_-])user(?:[_-]?(?:name|id))?$|^login$|^e?-?mail$")
_PLAIN_HEADERS = {  # of a request, that hold no secret; of all others the name alone is kept
    "accept", "accept-encoding", "accept-ranges", "connection", "content-length", "content-type", "expect", "host",
    "if-match", "if-modified-since", "if-none-match", "range", "transfer-encoding", "user-agent",
    "x-amz-content-sha256", "x-amz-date",
}  # fmt: skip
_SHORTEST = 4  # letters of a secret that is looked for: shorter ones are part of everything
_SHORTEST_NAME = 3
_MOST_UNPACKED_BYTES = 2**28


class Secrets:
    """What is to be hidden; learns while it is used.

    Attributes
    ----------
    hits
        How often something was hidden in an answer.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._lock = threading.Lock()
        self._forms: tuple[str, ...] = ()  # of all secrets, the longest first
        self._values: set[str] = set()
        self._names: tuple[str, ...] = ()  # of users, the longest first
        self.hits = 0
        for name, value in (os.environ if environment is None else environment).items():
            if name.lower().endswith("_proxy"):
                self.url(value)
            elif _SECRET_NAME.search(name) and not os.path.exists(value):  # a file with secrets is no secret itself
                self.learn(value)
            elif _USER_NAME.search(name) and name.upper() not in ("USER", "USERNAME"):
                self.learn_name(value)
        self._home = str(Path.home())

    def learn(self, value: str) -> None:
        """Hide a secret from now on, wherever it occurs."""
        value = value.strip()
        if len(value) < _SHORTEST or value == HIDDEN or value in self._values:
            return
        with self._lock:
            self._values.add(value)
            known = {form for one in self._values for form in _forms(one)}
            self._forms = tuple(sorted(known, key=lambda form: (-len(form), form)))

    def learn_name(self, value: str) -> None:
        """Hide the name of a user from now on, where it is a word of its own in a text or an answer."""
        value = value.strip()
        if len(value) >= _SHORTEST_NAME and value != HIDDEN and value not in self._names:
            with self._lock:
                self._names = tuple(sorted({*self._names, value}, key=len, reverse=True))

    # ------------------------------------------------------------------------------------------------------- of texts

    def text(self, text: str) -> str:
        """Return a text without secrets, names of users and the path of the home folder."""
        text = self._values_in(text)
        for name in self._names:
            text = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", "x" * len(name), text)
        if len(self._home) > 1:
            text = re.sub(rf"{re.escape(self._home)}(?=[/\s'\",:;)]|$)", "~", text)
        return re.sub(r"(?<=://)[^\s/@'\"]+@", f"{HIDDEN}@", text)

    def _values_in(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, "x" * len(form))  # as in answers, from which clients make addresses
        return text

    def url(self, url: str) -> str:
        """Return an address without name and password, and without the values of what is secret in its query."""
        try:
            parts = urlsplit(url)
            user, password = parts.username, parts.password
        except ValueError:
            return self._values_in(url)
        self.learn(unquote_plus(password or ""))
        self.learn_name(unquote_plus(user or ""))
        place = parts.netloc.rpartition("@")[2]
        path = re.sub(r"(?i)(;[^=/;]*session[^=/;]*=)[^/;]*", self._hide_value, parts.path)
        plain = urlunsplit((parts.scheme, place, path, self.fields(parts.query), self.fields(parts.fragment)))
        return self._values_in(plain)

    def _hide_value(self, match: re.Match[str]) -> str:
        self.learn(match[0].removeprefix(match[1]))
        return f"{match[1]}{HIDDEN}"

    def fields(self, text: str) -> str:
        """Return ``name=value&...`` of a query or a form without what is secret by its name."""
        if "=" not in text:
            return text
        shown = []
        for part in text.split("&"):
            name, sign, value = part.partition("=")
            plain, given = unquote_plus(name), unquote_plus(value)
            if value and _SECRET_NAME.search(plain):
                self.learn(given)
                value = HIDDEN
            elif value and (_USER_NAME.search(plain) or given in self._names):
                self.learn_name(given)
                value = HIDDEN
            shown.append(f"{name}{sign}{value}")
        return "&".join(shown)

    # ------------------------------------------------------------------------------------------------------ of headers

    def sent(self, headers: Iterable[tuple[str, str]]) -> Headers:
        """Return the headers of a request: of those that might hold a secret the names alone."""
        shown = []
        for name, value in headers:
            if name.lower() in _PLAIN_HEADERS:
                shown.append((name, self._values_in(value)))
                continue
            if _SECRET_NAME.search(name):
                self._learn_header(name, value)
            shown.append((name, HIDDEN))
        return shown

    def _learn_header(self, header: str, value: str) -> None:
        word, _, rest = value.partition(" ")
        self.learn(rest if word.lower() in ("basic", "bearer", "token", "digest") else value)
        if word.lower() == "basic":
            try:
                user, _, password = base64.b64decode(rest.strip(), validate=True).decode("utf-8").partition(":")
            except ValueError:
                return
            self.learn_name(user)
            self.learn(password)
        elif "cookie" in header.lower():
            for part in value.split(";"):
                self.learn(part.partition("=")[2])

    def came(self, headers: Iterable[tuple[str, str]]) -> Headers:
        """Return the headers of an answer without secrets."""
        shown = []
        for name, value in headers:
            if name.lower() == "set-cookie":
                first, semicolon, rest = value.partition(";")
                key, sign, secret = first.partition("=")
                self.learn(secret)
                value = f"{key}{sign}{HIDDEN}{semicolon}{rest}"
            elif name.lower() in ("location", "content-location", "refresh"):
                value = self.url(value)
            elif name.lower() == "link":
                value = re.sub(r"<([^>]*)>", lambda match: f"<{self.url(match[1])}>", value)
            elif _SECRET_NAME.search(name):
                self._learn_header(name, value)
                value = HIDDEN
            shown.append((name, self._values_in(value)))
        return shown

    # ------------------------------------------------------------------------------------------------------- of bodies

    def form(self, body: bytes, kind: str) -> bytes:
        """Return the body of a request without secrets; of a form, without what is secret by its name too."""
        if "urlencoded" in kind.lower():
            return self.text(self.fields(body.decode("utf-8", "replace"))).encode()
        if "multipart/" in kind.lower():
            body = re.sub(
                rb'(?i)(content-disposition:[^\r\n]*\bname="([^"\r\n]*)"[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n)(.*?)(?=\r\n--)',
                self._hide_part,
                body,
                flags=re.DOTALL,
            )
        elif "json" in kind.lower():
            body = re.sub(rb'("([^"\\]{1,60})"\s*:\s*)("(?:[^"\\]|\\.)*")', self._hide_part, body)
        return self.answer(body)

    def _hide_part(self, match: re.Match[bytes]) -> bytes:
        """Hide the value of a part of a form, or of an entry of JSON, by its name."""
        name, value = match[2].decode("utf-8", "replace"), match[3].decode("utf-8", "replace")
        quoted = value[:1] == '"'
        given = value[1:-1] if quoted else value
        if _SECRET_NAME.search(name):
            self.learn(given)
        elif _USER_NAME.search(name):
            self.learn_name(given)
        else:
            return match[0]
        return match[1] + (f'"{HIDDEN}"' if quoted else HIDDEN).encode()

    def answer(self, body: bytes) -> bytes:
        """Return an answer in which every secret and name of a user has become as many letters ``x``."""
        for form in self._forms:
            found = form.encode()
            if found in body:
                self.hits += body.count(found)
                body = body.replace(found, b"x" * len(found))
        for name in self._names:
            word = re.escape(name.encode())
            body, hits = re.subn(rb"(?<![\w.-])" + word + rb"(?![\w.-])", b"x" * len(name.encode()), body)
            self.hits += hits
        return body

    def is_clean_when_unpacked(self, body: bytes) -> bool:
        """Whether what is packed with gzip or zlib holds no secret either; False where that cannot be found out."""
        if body[:2] != b"\x1f\x8b" and body[:1] != b"\x78":
            return True
        unpacked = bytearray()
        try:
            left = body
            while left and len(unpacked) <= _MOST_UNPACKED_BYTES:
                one = zlib.decompressobj(wbits=47)  # either kind
                unpacked += one.decompress(left, _MOST_UNPACKED_BYTES - len(unpacked) + 1)
                if not one.eof:
                    break
                left = one.unused_data
        except zlib.error:
            pass  # cut short or no such file: what came out before is looked at
        if len(unpacked) > _MOST_UNPACKED_BYTES:
            return not self._values
        return not any(form.encode() in unpacked for form in self._forms)

    def words(self, words: Iterable[str]) -> list[str]:
        """Return values of options without secrets."""
        return [self.url(self.text(word)) if "://" in word else self.text(word) for word in words]


def _forms(value: str) -> set[str]:
    """Return how a secret may be written: plain, in addresses, HTML, JSON, and as part of something in base64."""
    raw = value.encode()
    forms = {value, quote(value, safe=""), quote(value), quote_plus(value), html.escape(value), json.dumps(value)[1:-1]}
    forms |= {re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), form) for form in forms}
    forms.add(raw.hex())
    for before in range(3):  # where it begins among three bytes
        coded = base64.b64encode(b"\0" * before + raw + b"\0" * 3).decode()
        first, last = -(-before * 8 // 6), (before + len(raw)) * 8 // 6
        whole = coded[first:last]
        if len(whole) >= _SHORTEST:
            forms |= {whole, whole.replace("+", "-").replace("/", "_")}
    return {form for form in forms if len(form) >= _SHORTEST}
