"""The command that opens the labelling app: serve."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from astroanomaly.app.web.opening import opened
from astroanomaly.app.web.token import NO_TOKEN, Token, given_token
from astroanomaly.cli.terminal import say

__all__ = ["add"]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_serve)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument("--port", type=int, default=5006, metavar="N", help="port to listen on; 0: any (default: 5006)")
    names = parser.add_mutually_exclusive_group()
    names.add_argument(
        "--annotator", metavar="NAME",
        help="name that verdicts are given under (default: your user name; on a JupyterHub its user name, which nobody "
        "can change on the page)",
    )  # fmt: skip
    names.add_argument(
        "--user-header", default="", metavar="HEADER",
        help="take the name of each person from this header, as in X-Forwarded-User, which a proxy must set",
    )  # fmt: skip
    parser.add_argument(
        "--address",
        default="127.0.0.1",
        metavar="IP",
        help="address to listen on (default: 127.0.0.1, which this computer alone reaches; 0.0.0.0: others too)",
    )
    parser.add_argument(
        "--allow-websocket-origin",
        action="append",
        default=[],
        metavar="HOST",
        help="address that browsers use when it is not this one, as HOST or HOST:PORT; may be repeated",
    )
    parser.add_argument(
        "--allow-frame",
        action="append",
        default=[],
        metavar="URL",
        help="address whose pages may show the app in a frame, as https://HOST or https://HOST:PORT; may be repeated",
    )
    parser.add_argument(
        "--prefix", default="", metavar="PATH", help="path that a reverse proxy leaves on before it asks the app"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="file with the token, which only you may read (default: the variable ASTROANOMALY_TOKEN, else the "
        "session's own token)",
    )
    which.add_argument(
        "--no-token", action="store_true", help="ask for no token: whoever reaches the server can label and undo"
    )
    parser.add_argument(
        "--no-background", action="store_true", help="compute no features until somebody asks for them on the page"
    )
    parser.add_argument(
        "--samp",
        action="store_true",
        help="exchange rows and positions with TOPCAT, Aladin and others on this desktop, by SAMP",
    )
    parser.add_argument(
        "--web-samp",
        action="store_true",
        help="let each browser exchange positions with TOPCAT and Aladin on its own computer, by SAMP's Web Profile",
    )
    parser.add_argument(
        "--no-showings", action="store_true", help="keep no account in the session of what is shown to whom, and when"
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")


def _serve(arguments: argparse.Namespace) -> None:
    from astroanomaly.app.web.server import AppServer
    from astroanomaly.app.web.user_header import hub_user
    from astroanomaly.session.folder import user_name

    hub = "" if arguments.annotator else hub_user(os.environ)
    server = AppServer(
        arguments.session,
        address=arguments.address,
        port=arguments.port,
        annotator=arguments.annotator or hub or user_name(),
        vouched_by="JupyterHub" if hub else "",
        user_header=arguments.user_header,
        prefix=arguments.prefix,
        origins=arguments.allow_websocket_origin,
        frames=arguments.allow_frame,
        token=NO_TOKEN if arguments.no_token else given_token(arguments.token_file, os.environ),
        background=not arguments.no_background,
        samp=arguments.samp,
        web_samp=arguments.web_samp,
        showings=not arguments.no_showings,
    )
    say(f"{arguments.session}: open {server.address if server.token.origin else server.url}")
    say(_who_can_label(server.token))
    if arguments.user_header:
        say(f"names of annotators come from the header {arguments.user_header}: see that only the proxy can set it")
    elif hub:
        say(f"verdicts are given under the name {hub}, as JupyterHub says; --annotator NAME lets people enter names")
    say("Ctrl-C stops the server; every verdict is saved when its mark appears")
    opens = not arguments.no_browser and not arguments.prefix
    with opened(server.url, arguments.session) if opens else contextlib.nullcontext():
        server.run()


def _who_can_label(token: Token) -> str:
    if not token.text:
        return "no token is asked for: whoever reaches this address, other accounts of this computer too, can label"
    if token.origin:
        return f"who brings the token can label; it is the one {token.origin}"
    return f"who has this address, with its token, can label; {token.kept}"
