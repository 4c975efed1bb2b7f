"""Accounts at services: tokens, names with passwords and client certificates, sent to hosts that the user named alone.

They come from environment variables or from a file that nobody else may read, never from the command line, and are part
of no request that is stored. Whoever asks passes an `Account`; for every address, those of redirects included, it says
anew what is sent there.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from astroanomaly.errors import ConfigError

if TYPE_CHECKING:
    from requests import PreparedRequest

__all__ = ["Account", "Secret", "read_account"]

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_HTTPS_PORT = 443
_FOR_OTHERS = 0o077  # bits of the mode of a file
_MAX_FILE_BYTES = 2**20
_WORDS = {"token", "user", "password", "certificate"}


@dataclass(frozen=True, repr=False)
class Secret:
    """What one host is sent: a token, a name with a password, or a client certificate with its key (PEM).

    Attributes
    ----------
    token, user, password
        Empty where there is none.
    certificate
        Path of the file; empty where there is none.
    """

    token: str = ""
    user: str = ""
    password: str = ""
    certificate: str = ""

    @property
    def kind(self) -> str:
        """What it is: ``token``, ``password`` or ``certificate``."""
        return "token" if self.token else "password" if self.user else "certificate"

    def sign(self, request: PreparedRequest) -> PreparedRequest:
        """Add it to a request, in place of what ``~/.netrc`` may say."""
        if self.token:
            request.headers["Authorization"] = f"Bearer {self.token}"
        elif self.user:
            from requests.auth import HTTPBasicAuth

            HTTPBasicAuth(self.user, self.password)(request)
        return request


@dataclass(frozen=True, repr=False)
class Account:
    """The secrets of a user by ``host:port``."""

    secrets: Mapping[str, Secret] = field(default_factory=dict)

    def of(self, url: str) -> Secret | None:
        """Return what an address is sent: nothing, unless it is https (or on this computer) and its host was named."""
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError:
            return None
        if parts.scheme.lower() == "https":
            return self.secrets.get(f"{host}:{port or _HTTPS_PORT}")
        return self.secrets.get(f"{host}:{port or 80}") if host in _LOOPBACK else None

    def may_serve(self, url: str) -> bool:
        """Whether an address is sent anything."""
        return self.of(url) is not None


def read_account(hosts: Sequence[str], prefix: str) -> Account:
    """Read the account of a user for some hosts, from the environment.

    Parameters
    ----------
    hosts
        Hosts to log in at, as ``data.example.org`` or ``data.example.org:8443``, each named in full.
    prefix
        Of the variables: ``VO`` for ``VO_TOKEN``; ``VO_USER`` and ``VO_PASSWORD``; ``VO_CERTIFICATE``, a PEM file; or
        ``VO_CREDENTIALS``, a TOML file with a table for each host. Both files have to have mode 0600.

    Raises
    ------
    ConfigError
        If a host has no secret or more than one, or a file may be read by others.
    """
    names = [_host(text) for text in hosts]
    if not names:
        return Account()
    given = {word: os.environ.get(f"{prefix}_{word.upper()}", "") for word in sorted(_WORDS)}
    file = os.environ.get(f"{prefix}_CREDENTIALS", "")
    ways = (
        f"set {prefix}_TOKEN, or {prefix}_USER and {prefix}_PASSWORD, or {prefix}_CERTIFICATE to a PEM file, or "
        f"{prefix}_CREDENTIALS to a TOML file with a table for each host"
    )
    if file and any(given.values()):
        raise ConfigError(f"{prefix}_CREDENTIALS is set beside another of these variables: keep one")
    tables = _read_file(file, f"{prefix}_CREDENTIALS") if file else {}
    secrets = {}
    for name in names:
        about = tables.get(name) if file else given
        if about is None:
            raise ConfigError(f"the file of {prefix}_CREDENTIALS has no table for the host {name.removesuffix(':443')}")
        secrets[name] = _secret(about, f"login at {name.removesuffix(':443')}", ways)
    return Account(secrets)


def _host(text: str) -> str:
    """Return ``host:port`` of a host that a user names."""
    try:
        parts = urlsplit(f"//{text.strip()}")
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        host, port = "", None
    plain = parts.netloc == text.strip() and not parts.username if host else False
    if not host or not plain or "*" in host:
        raise ConfigError(f"login={text!r}: expected the whole name of a host, as in data.example.org")
    return f"{host}:{port or _HTTPS_PORT}"


def _read_file(file: str, name: str) -> dict[str, Any]:
    path = _private(file, name)
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ConfigError(f"the file that {name} names is far too large")
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"the file that {name} names cannot be read as TOML: {type(error).__name__}") from None
    return {_host(host): about for host, about in content.items() if isinstance(about, dict)}


def _private(file: str, name: str) -> Path:
    """Return the path of a file that nobody else may read."""
    path = Path(file).expanduser()
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"the file that {name} names cannot be read: {type(error).__name__}") from None
    if mode & _FOR_OTHERS:
        raise ConfigError(
            f"the file that {name} names may be read by others (mode {mode & 0o777:04o}): say chmod 600 and its name"
        )
    return path


def _secret(about: Mapping[str, Any], what: str, ways: str) -> Secret:
    if set(about) - _WORDS or not all(isinstance(value, str) for value in about.values()):
        raise ConfigError(f"{what}: expected texts named {', '.join(sorted(_WORDS))}")
    texts = {word: str(value).strip() for word, value in about.items() if str(value).strip()}
    if any("\n" in text or "\r" in text for text in texts.values()):
        raise ConfigError(f"{what}: a secret holds the end of a line")
    kinds = [{"token"}, {"user", "password"}, {"certificate"}]
    if set(texts) not in kinds:
        trouble = "more than one secret is given" if len(texts) > 1 and set(texts) != {"user"} else "no secret is given"
        raise ConfigError(f"{what}: {trouble}: {ways}")
    if "certificate" in texts:
        texts["certificate"] = str(_private(texts["certificate"], "the certificate's variable"))
    return Secret(**texts)
