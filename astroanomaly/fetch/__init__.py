"""Ask archives within limits, try again where that may help, and cache the files: what archive plugins share.

A plugin calls `cached` for every product it needs and `each` where many are independent; the rest is for services with
clients of their own. How (parallel requests, waits, folder) is the user's choice: a `FetchConfig`, never part of a
cache's request.
"""

from astroanomaly.fetch.accounts import Account, read_account
from astroanomaly.fetch.cache_files import cached
from astroanomaly.fetch.checks import is_fits, is_self_contained, is_votable, json_of, rows_of
from astroanomaly.fetch.context import current, using
from astroanomaly.fetch.down_hosts import DownHost, down_hosts
from astroanomaly.fetch.listen import ClientOutput, answer, expect
from astroanomaly.fetch.pool import each
from astroanomaly.fetch.retry import attempt
from astroanomaly.fetch.traffic import Traffic, count_bytes, traffic
from astroanomaly.fetch.web import download, get

__all__ = [
    "Account",
    "ClientOutput",
    "DownHost",
    "Traffic",
    "answer",
    "attempt",
    "cached",
    "count_bytes",
    "current",
    "down_hosts",
    "download",
    "each",
    "expect",
    "get",
    "is_fits",
    "is_self_contained",
    "is_votable",
    "json_of",
    "read_account",
    "rows_of",
    "traffic",
    "using",
]
