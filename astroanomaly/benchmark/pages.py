"""One page as Markdown and as HTML: headings, text, tables, commands and pictures, written from the same parts."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from astroanomaly.files import atomic_path

__all__ = ["Part", "command", "heading", "picture", "table", "text", "write_pages"]

_CSP = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # the page can fetch nothing and run nothing
_STYLE = (
    "body{font:15px/1.5 system-ui,'DejaVu Sans',sans-serif;margin:24px auto;padding:0 24px;max-width:1100px;"
    "color:#1b2430;background:#fff}h2{margin-top:36px}table{border-collapse:collapse;margin:12px 0;font-size:13px}"
    "th,td{padding:4px 12px 4px 0;text-align:left;border-bottom:1px solid #dde2e9;vertical-align:top}"
    "pre{background:#f3f5f8;padding:10px;white-space:pre-wrap;overflow-wrap:anywhere}img{max-width:100%}"
    "figcaption{color:#5d6878}figure{margin:18px 0;break-inside:avoid}"
)


@dataclass(frozen=True)
class Part:
    """A part of a page.

    Attributes
    ----------
    markdown
        Lines.
    html
        Escaped already.
    """

    markdown: tuple[str, ...]
    html: str


def heading(words: str, level: int = 2) -> Part:
    """Return a heading."""
    return Part((f"{'#' * level} {words}",), f"<h{level}>{escape(words)}</h{level}>")


def text(words: str) -> Part:
    """Return a paragraph."""
    return Part((words,), f"<p>{escape(words)}</p>")


def command(words: str) -> Part:
    """Return a command as it is typed."""
    return Part(("```", words, "```"), f"<pre>{escape(words)}</pre>")


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Part:
    """Return a table; cells are taken as they are, whatever they hold."""
    lines = [
        "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in line) + " |"
        for line in (titles, ["---"] * len(titles), *rows)
    ]
    head = "".join(f"<th>{escape(str(cell))}</th>" for cell in titles)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return Part(tuple(lines), f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def picture(path: Path, caption: str) -> Part:
    """Return a picture: beside the page in Markdown, within it in HTML."""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    image = f'<img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
    return Part((f"![{caption}]({path.name})",), f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>")


def write_pages(folder: Path, name: str, title: str, parts: Sequence[Part]) -> list[Path]:
    """Write ``name.md`` and ``name.html``, each in one step; return both."""
    lines: list[str] = [f"# {title}", ""]
    for part in parts:
        lines += [*part.markdown, ""]
    html = (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
        f'<meta http-equiv="Content-Security-Policy" content="{_CSP}">'
        '<meta name=viewport content="width=device-width, initial-scale=1"><meta name=referrer content=no-referrer>'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n"
        + "\n".join(part.html for part in parts)
        + "\n</body></html>\n"
    )
    written = []
    for suffix, content in ((".md", "\n".join(lines).rstrip() + "\n"), (".html", html)):
        path = folder / f"{name}{suffix}"
        with atomic_path(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
        written.append(path)
    return written
