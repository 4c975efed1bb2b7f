"""Ask archives politely, try again what is worth it, and keep what was fetched: what archive plugins share.

A plugin calls `kept` for every product it needs and `each` where many are independent; the rest is for services with
clients of their own. How (parallel requests, waits, folder) is the user's choice: a `FetchConfig`, never part of a
cache's request.
"""

from astroanomaly.fetch.answers import Said, answer, expect
from astroanomaly.fetch.attempts import attempt
from astroanomaly.fetch.checks import is_fits, is_votable
from astroanomaly.fetch.keeping import kept
from astroanomaly.fetch.pool import each
from astroanomaly.fetch.setting import current, using
from astroanomaly.fetch.tallies import Tally, count_bytes, tally
from astroanomaly.fetch.web import download, get

__all__ = [
    "Said",
    "Tally",
    "answer",
    "attempt",
    "count_bytes",
    "current",
    "download",
    "each",
    "expect",
    "get",
    "is_fits",
    "is_votable",
    "kept",
    "tally",
    "using",
]
