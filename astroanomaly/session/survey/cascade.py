"""The highest scores of a survey without scoring all of it: a small network guesses, a sample tells what is lost.

The ranker scores the objects whose guess is above a threshold, those that are unlike what the guesses were learnt from,
and a random sample of all. The sample bounds how many of the highest scores are among the objects that were left out.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Generator, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.cache import Cache, Shard
from astroanomaly.cache.scores import PartScores, Reason
from astroanomaly.errors import ConfigError, SessionError
from astroanomaly.files import read_json, write_json
from astroanomaly.hookspecs import ImageRanker
from astroanomaly.learn.student import Student, student_store
from astroanomaly.records import Progress, ShardScores
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.rounds import Round
from astroanomaly.session.survey.best import BestObjects
from astroanomaly.session.survey.recall_bound import CONFIDENCE, allowed_misses, missing, sample_share

if TYPE_CHECKING:
    from astroanomaly.learn.explain import ImageScore

__all__ = ["STATE_FILE", "Cascade", "CascadeReport", "GuessedScores"]

_LEARNT_FROM = 2000  # random objects of the session
STATE_FILE = "cascade.json"
_STUDENT_FILE = "student.npz"
_LITTLE_SAVED = 0.5  # share of the objects from which on it pays no more to guess first
_REPORT = "report"  # in the state of what is finished
_REMEDY = "remove the folder, and the survey is scored anew"


@dataclass(frozen=True)
class CascadeReport:
    """What a survey lost and saved, whose scores were guessed first.

    Attributes
    ----------
    top, wanted
        How many of the highest scores were looked for, and the share of them that had to be found.
    recall, lowest, highest
        The share that was found: the best estimate, and an interval. Each end holds with 95 % confidence. For the lower
        end all objects that could not be cut once more count as missing.
    objects
        Objects of the survey that were cut.
    scored
        How many of these the ranker has scored.
    drawn, far
        How many of these were drawn at random, and are unlike what the guesses were learnt from.
    """

    top: int
    wanted: float
    recall: float
    lowest: float
    highest: float
    objects: int
    scored: int
    drawn: int
    far: int

    def __str__(self) -> str:
        return (
            f"{self.scored} of {self.objects} objects ({self.scored / max(self.objects, 1):.1%}) were scored: "
            f"{self.drawn} drawn at random, {self.far} unlike the session's, the others for their guess; the rest have "
            f"no score. Found of the {self.top} highest scores: {self.recall:.1%} ({self.lowest:.1%} to "
            f"{self.highest:.1%}; each end holds with {CONFIDENCE:.0%} confidence)"
        )


# ---------------------------------------------------------------------------------------------------------- the scores


@dataclass(frozen=True)
class GuessedScores(ShardScores):
    """Scores of some objects, and guesses of all; see `PartScores`."""

    guesses: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    reasons: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))


@dataclass
class Cascade:
    """How the objects of a survey are guessed and scored.

    Attributes
    ----------
    folder
        Where its state is kept.
    top, recall
        How many of the highest scores are looked for, and the share that has to be found.
    share
        Probability of each object to be drawn.
    seed
        Draws them, with their ids.
    threshold
        Lowest guess of the objects that are scored for it.
    """

    folder: Path
    top: int
    recall: float
    share: float
    seed: int
    threshold: float
    _student: ImageScore
    teacher: ImageScore

    @staticmethod
    def place(last: Round, out: Path, top: int, recall: float) -> Path:
        """Return the folder of a survey for a round, a number of objects and a recall.

        Raises
        ------
        ConfigError
            If the recall is no share, or so few objects are wanted that the survey has to be scored whole.
        """
        if not 0 < recall < 1:
            raise ConfigError(f"recall={recall:g}: expected a number between 0 and 1")
        sample_share(top, recall)
        whole = last.in_survey(out)
        return whole.with_name(f"{whole.name}-top-{top}-recall-{recall:g}")

    @staticmethod
    def places(last: Round, out: Path) -> list[Path]:
        """Return the folders of a survey for a round that are there, the latest first."""
        found = out.glob(f"{last.in_survey(out).name}-top-*")
        return sorted(found, key=lambda folder: folder.stat().st_mtime, reverse=True)

    @staticmethod
    def is_finished(folder: Path) -> bool:
        """Whether all was scored that has to be; of a folder without guesses, always."""
        path = folder / STATE_FILE
        return not path.is_file() or _REPORT in read_json(path, error=SessionError, remedy=_REMEDY)

    @classmethod
    def open(
        cls,
        session: SessionFolder,
        last: Round,
        ranker: ImageRanker,
        survey: Cache,
        folder: Path,
        top: int,
        recall: float,
        objects: int,
    ) -> Generator[Progress, None, Cascade]:
        """Learn to guess scores from a random part of the session, or take up what was learnt before.

        Parameters
        ----------
        session, last, ranker
            The session, its round, and the fitted ranker.
        survey
            A cache with the layout of the survey.
        folder
            What `place` gave.
        top, recall
            What is looked for.
        objects
            About how many objects the survey has.

        Raises
        ------
        SessionError
            If the round has not scored the session yet, or the ranker cannot score some of many cutouts.
        TrainingError
            If the session has too few objects to learn from.
        CheckpointError
            If what was learnt before is damaged.
        """
        from astroanomaly.learn.explain import ImageScore

        context = session.context
        teacher = ranker.image_score(survey, expected=int(objects * sample_share(top, recall)))
        if not isinstance(teacher, ImageScore):
            raise SessionError(
                f"the ranker {last.ranker!r} cannot score some of the cutouts of a shard: score all, without recall"
            )
        if not (folder / STATE_FILE).is_file():
            labelled = session.labels.labelled().ids
            ids = session.cache.sample(_LEARNT_FROM, np.random.default_rng((context.seed, 11)), labelled)
            if not last.is_scored(session.cache):
                raise SessionError(f"round {last.number} has not scored the session yet: `astroanomaly score SESSION`")
            known = -last.read_log_odds(session.cache)[session.cache.rows(ids), 0]
            student = yield from Student.learn(student_store(session.cache, context), ids, known, context.seed)
            folder.mkdir(parents=True, exist_ok=True)
            student.save(folder / _STUDENT_FILE)
            threshold, share = student.threshold(min(1.0, top / objects)), sample_share(top, recall)
            _write_state(folder, {"threshold": threshold, "share": share, "seed": context.seed})
            yield Progress(
                "learning to guess", 1, 1, message=_outlook(share, float(np.mean(student.guesses >= threshold)))
            )
        else:
            student = Student.load(folder / _STUDENT_FILE)
        threshold, share, seed = _read_state(folder)
        return cls(
            folder,
            top,
            recall,
            share,
            seed,
            threshold,
            student.image_score(student_store(survey, context), expected=objects),
            teacher,
        )

    def __call__(self, shard: Shard) -> GuessedScores:
        """Guess the scores of a shard, and score the objects that have to be."""
        guessed = self._student(shard)
        guesses, distances = guessed.log_odds.T
        reasons = np.zeros(len(shard), np.uint8)
        for reason, rows in (
            (Reason.DRAWN, self._drawn(guessed.ids)),
            (Reason.GUESS, guesses >= self.threshold),
            (Reason.FAR, ~(distances <= 1)),
        ):
            reasons[rows] += np.uint8(reason)
        log_odds = np.full((len(shard), self.teacher.classes), np.nan, np.float32)
        rows = np.flatnonzero(reasons)
        log_odds[rows] = self.teacher.of_rows(shard, rows)
        return GuessedScores(shard.uuid, guessed.ids, log_odds, self.teacher.engine.label, guesses, reasons)

    def _drawn(self, ids: Iterable[str]) -> np.ndarray:
        """Which objects are drawn: a hash of the id decides, whatever else is in the survey."""
        salt = f"{self.seed}:".encode()
        numbers = [int.from_bytes(hashlib.blake2b(salt + one.encode(), digest_size=8).digest()) for one in ids]
        return np.array(numbers, np.float64) < self.share * 2.0**64

    # ------------------------------------------------------------------------------------------------ what is missing

    def pending(self, part: PartScores) -> np.ndarray:
        """``(n,)`` boolean: objects of a part that the ranker has not scored, though their guess asks for it."""
        guesses, reasons = _guessed(part)
        return (reasons == 0) & (guesses >= self.threshold)

    def measure(self, parts: Iterable[PartScores], known: Cache) -> tuple[BestObjects, CascadeReport, float | None]:
        """Find the best objects, and how many of them are missing.

        Parameters
        ----------
        parts
            All scores of the survey.
        known
            Objects that are not looked for.

        Returns
        -------
        BestObjects, CascadeReport
            The best, and what is known of the others.
        float or None
            The threshold that is needed; None where the recall is certain.
        """
        best = BestObjects(self.top, known)
        objects = scored = uncut = drawn = far = 0
        missed: list[tuple[float, float, str]] = []  # guess, score and id of drawn objects that were left out
        for part in parts:
            guesses, reasons = _guessed(part)
            best.add(part)
            scores = -part.log_odds[:, 0].astype(np.float64)
            there = ~np.isnan(scores)
            objects, scored = objects + len(part.ids), scored + int(np.count_nonzero((reasons > 0) & there))
            uncut += int(np.count_nonzero((reasons == Reason.GUESS) & ~there))
            drawn += int(np.count_nonzero(reasons & Reason.DRAWN))
            far += int(np.count_nonzero(reasons & Reason.FAR))
            left_out = (reasons == Reason.DRAWN) & (guesses < self.threshold) & (scores >= best.lowest)
            rows = np.flatnonzero(left_out).tolist()
            missed += [(float(guesses[row]), float(scores[row]), part.ids[row]) for row in rows]
        missed = [one for one in missed if one[1] >= best.lowest]
        new = known.find([name for *_, name in missed]) < 0
        lost = sorted((guess for (guess, *_), yes in zip(missed, new, strict=True) if yes), reverse=True)
        estimate = len(lost) * (1 - self.share) / self.share
        most, least = (missing(len(lost), self.share, level) for level in (CONFIDENCE, 1 - CONFIDENCE))
        recall, lowest, highest = (max(0.0, 1 - lacking / self.top) for lacking in (estimate, most + uncut, least))
        report = CascadeReport(self.top, self.recall, recall, lowest, highest, objects, scored, drawn, far)
        excess = len(lost) - allowed_misses(self.top, self.recall, self.share)
        return best, report, lost[min(excess, len(lost)) - 1] if excess > 0 else None

    def lower(self, threshold: float) -> None:
        """Score more objects from now on."""
        self.threshold = threshold
        _write_state(self.folder, self._state)

    def finish(self, report: CascadeReport) -> None:
        """Keep what was found with the scores."""
        _write_state(self.folder, self._state | {_REPORT: asdict(report)})

    @property
    def _state(self) -> dict[str, Any]:
        return {"threshold": self.threshold, "share": self.share, "seed": self.seed}

    def completed(self, part: PartScores, ids: Iterable[str], log_odds: np.ndarray) -> PartScores:
        """Return a part with the scores of objects that were pending; those that could not be cut again have none."""
        rows = self.pending(part)
        place = {name: row for row, name in enumerate(part.ids)}
        scores, (_, reasons) = part.log_odds.copy(), _guessed(part)
        for name, row in zip(ids, log_odds, strict=True):
            if name in place:
                scores[place[name]] = row
        return replace(part, log_odds=scores, reasons=np.where(rows, Reason.GUESS, reasons).astype(np.uint8))


def _outlook(drawn: float, guessed: float) -> str:
    """Say how much will be scored, from the shares that are drawn at random and have high guesses."""
    needed = drawn + (1 - drawn) * guessed
    text = f"about {needed:.0%} of the objects will be scored"
    return text if needed < _LITTLE_SAVED else f"{text}; to score all, without recall, would hardly take longer"


def _write_state(folder: Path, state: Mapping[str, Any]) -> None:
    write_json(folder / STATE_FILE, state)


def _read_state(folder: Path) -> tuple[float, float, int]:
    """Return threshold, share and seed."""
    path = folder / STATE_FILE
    state = read_json(path, error=SessionError, remedy=_REMEDY)
    try:
        threshold, share, seed = float(state["threshold"]), float(state["share"]), int(state["seed"])
    except (KeyError, TypeError, ValueError) as error:
        raise SessionError(f"{path} is damaged: {error!r}; {_REMEDY}") from error
    if not (math.isfinite(threshold) and 0 < share <= 1):
        raise SessionError(f"{path} is damaged: threshold {threshold}, share {share}; {_REMEDY}")
    return threshold, share, seed


def _guessed(part: PartScores) -> tuple[np.ndarray, np.ndarray]:
    """Return guesses and reasons of a part that has them."""
    if not len(part.ids):
        return np.empty(0, np.float32), np.empty(0, np.uint8)
    if part.guesses is None or part.reasons is None:
        raise SessionError(f"the scores of task {part.tasks.min()} have no guesses: {_REMEDY}")
    return part.guesses, part.reasons
