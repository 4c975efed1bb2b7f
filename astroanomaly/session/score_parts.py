"""What scores rest on: how much of each is due to the image, and how much to the numbers beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.errors import SessionError
from astroanomaly.hookspecs import PartsRanker, Ranker
from astroanomaly.learn.label_leaks import leak_text, telling_columns
from astroanomaly.records import Labelled, drain
from astroanomaly.session.fitted import fitted_steps
from astroanomaly.session.folder import SessionFolder

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["block_remarks", "parts_text", "score_parts", "shares_text"]


def score_parts(session: SessionFolder, ids: Sequence[str]) -> QTable:
    """Take the scores of some objects by the latest round apart; see `Session.score_parts`."""
    from astropy.table import QTable

    last = session.last_round
    ranker = drain(fitted_steps(session, last))
    if not isinstance(ranker, PartsRanker):
        raise SessionError(
            f"the ranker {last.ranker!r} of round {last.number} cannot say what its scores are due to: train "
            "`active-search` or `probe`"
        )
    parts = ranker.parts(session.cache, ids)
    log_odds = last.read_log_odds(session.cache)[session.cache.rows(ids)]
    table = QTable({"object_id": np.array(list(ids), dtype=str), "score": -log_odds[:, 0], **parts})
    table["score"].info.description = "log-odds of not being nominal"
    for name in parts:
        table[name].info.description = f"fall of the score with {name} as in the mean of the survey"
    table.meta = {"shares": ranker.shares()}
    return table


def shares_text(shares: Mapping[str, float]) -> str:
    """Return shares in words, as in ``image 60 %, columns 40 %``."""
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())


def parts_text(parts: Mapping[str, np.ndarray]) -> str:
    """Return the parts ``(1,)`` of the score of one object in words, as in ``image +1.2, columns +0.8``."""
    return ", ".join(f"{name} {float(one[0]):+.2f}" for name, one in parts.items())


def block_remarks(session: SessionFolder, ranker: Ranker, labelled: Labelled) -> Iterator[tuple[str, dict[str, float]]]:
    """Say what a ranker that has learnt makes of the blocks of a session, each with what is kept of it.

    Nothing is said in a session without blocks, or of a ranker that does not look at them.
    """
    blocks = session.context.blocks
    if not blocks or not isinstance(ranker, PartsRanker):
        return
    shares = ranker.shares()
    yield f"scores rest on: {shares_text(shares)}", shares
    for block, column in telling_columns(session.cache, blocks, labelled):
        yield leak_text(block, column), {}
