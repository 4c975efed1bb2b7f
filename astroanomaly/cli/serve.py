"""The command that opens the labelling app: serve."""

from __future__ import annotations

import argparse
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from astroanomaly.cli.terminal import say

__all__ = ["add"]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_serve)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument("--port", type=int, default=5006, metavar="N", help="port to listen on; 0: any (default: 5006)")
    parser.add_argument(
        "--annotator", metavar="NAME", help="name that verdicts are given under (default: your user name)"
    )
    parser.add_argument(
        "--address",
        default="127.0.0.1",
        metavar="IP",
        help="address to listen on; any but this computer's own needs a token, which is shown (default: 127.0.0.1)",
    )
    parser.add_argument(
        "--allow-websocket-origin",
        action="append",
        default=[],
        metavar="HOST",
        help="address that browsers use when it is not this one, as HOST or HOST:PORT; may be repeated",
    )
    parser.add_argument(
        "--prefix", default="", metavar="PATH", help="path that a reverse proxy leaves on before it asks the app"
    )
    parser.add_argument(
        "--no-background", action="store_true", help="compute no features until somebody asks for them on the page"
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")


def _serve(arguments: argparse.Namespace) -> None:
    from astroanomaly.app.web.server import AppServer
    from astroanomaly.session.folder import user_name

    server = AppServer(
        arguments.session,
        address=arguments.address,
        port=arguments.port,
        annotator=arguments.annotator or user_name(),
        prefix=arguments.prefix,
        origins=arguments.allow_websocket_origin,
        background=not arguments.no_background,
    )
    say(f"{arguments.session}: open {server.url}")
    if server.token:
        say(f"who has this address, with its token, can label; {server.token_kept}")
    say("Ctrl-C stops the server; every verdict is saved when its mark appears")
    if not arguments.no_browser and not arguments.prefix:
        webbrowser.open(server.url)
    server.run()
