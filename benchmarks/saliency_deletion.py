"""Check by deletion that what a ranker says its scores rest on is what they rest on.

On a session, such as the one of ``astroanomaly demo``: for its best candidates the score is taken with the most salient
tenth of the pixels covered, with the same shape covered somewhere else, and with as many pixels drawn at random. The
ranker is that of the last round, or others that are fitted to the same labels; the session is not changed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from astroanomaly import Session
from astroanomaly.learn.explain import Deletion
from astroanomaly.records import drain
from astroanomaly.session.fitted import fitted_steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of a session with a trained ranker")
    parser.add_argument("--ranker", action="append", default=[], metavar="NAME", help="fit this one to the labels")
    parser.add_argument("--objects", type=int, default=40, metavar="N", help="best candidates (default: 40)")
    parser.add_argument("--share", type=float, default=0.1, help="share of the pixels that is covered (default: .1)")
    arguments = parser.parse_args()
    session = Session.open(arguments.session)
    ids = [str(i) for i in session.candidates(arguments.objects, include_labelled=True)["object_id"]]
    print("| ranker | score | salient | moved | scattered | salient - moved, 95 % | salient - scattered, 95 % |")
    print("|---|---|---|---|---|---|---|")
    last = session.last_round
    rankers = [(last.ranker, drain(fitted_steps(session, last)))]
    for name in arguments.ranker:
        ranker = session.ranker(name)
        for _ in ranker.fit(session.cache, session.labels.labelled(), frozenset(session.labels.audit)):
            pass
        rankers.append((name, ranker))
    for name, ranker in rankers:
        score, rng = ranker.image_score(session.cache), np.random.default_rng(0)
        show(name, [score.deletion(object_id, rng, share=arguments.share) for object_id in ids])


def show(name: str, found: list[Deletion]) -> None:
    falls = np.array([(one.score, one.salient, one.moved, one.scattered) for one in found])
    more = falls[:, 1:2] - falls[:, 2:]  # (n, 2)
    rng = np.random.default_rng(0)
    means = more[rng.integers(len(more), size=(10_000, len(more)))].mean(axis=1)
    ranges = [f"{low:.2f} to {high:.2f}" for low, high in np.percentile(means, (2.5, 97.5), axis=0).T]
    print(f"| {name} | {' | '.join([*(f'{value:.2f}' for value in falls.mean(axis=0)), *ranges])} |", flush=True)


if __name__ == "__main__":
    main()
