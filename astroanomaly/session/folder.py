"""The folder of a session: settings, caches, labels, rounds and features, and what is made of them alone."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import getpass
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from astroanomaly.arguments import as_flag, as_mapping, as_text, as_texts, as_whole
from astroanomaly.cache import Cache
from astroanomaly.cache.model_input import ModelInput
from astroanomaly.config import (
    BackboneConfig,
    SessionConfig,
    build,
    replace_many,
    to_plain,
)
from astroanomaly.errors import ConfigError, SessionError, StorageError, UnreadableError
from astroanomaly.files import as_path
from astroanomaly.hookspecs import Ranker, RankerContext
from astroanomaly.labels.grades import Grades
from astroanomaly.labels.log import LabelLog
from astroanomaly.labels.options import LabelOptions
from astroanomaly.labels.tables import ImportReport, import_labels
from astroanomaly.learn.advice import Advice
from astroanomaly.learn.features.compare import Comparison
from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.rankers.score_parts import IMAGE
from astroanomaly.learn.settings import build_settings
from astroanomaly.plugins import load_plugins
from astroanomaly.records import ANOMALY, NOMINAL, Progress, drain
from astroanomaly.session.blocks.beside import read_beside
from astroanomaly.session.blocks.given import stored_blocks
from astroanomaly.session.caches import (
    CacheRecord,
    cache_folders,
    portable_path,
    refuse_injections,
    stored_place,
    write_records,
)
from astroanomaly.session.home import CONFIG_FILE, SessionHome, check_grades, read_session, version_of
from astroanomaly.session.rounds import ROUNDS, Round, new_round
from astroanomaly.session.seen import what_the_model_sees

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["LABELS", "SessionFolder", "user_name"]

LABELS = "labels.sqlite"  # the log of all verdicts


class SessionFolder(SessionHome):
    """The folder of a session. `astroanomaly.Session` adds training, scoring and exports.

    Attributes
    ----------
    path
        Its folder.
    classes
        Label classes: ``nominal``, ``anomaly``, then the session's own anomaly classes.
    fitted
        Number of the round whose ranker was used last in this process, and that ranker; see
        `astroanomaly.session.fitted`.
    label_report
        What became of the labels that the session was made with; None for one that was opened.
    block_messages
        What a person should know of the blocks that it was made with; empty for one that was opened.
    """

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        super().__init__(path, content)
        self.classes: tuple[str, ...] = tuple(content["classes"])
        self.fitted: tuple[int, Ranker] | None = None
        self.label_report: ImportReport | None = None
        self.block_messages: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Session {self.path}, {len(self.rounds)} rounds, on {', '.join(self.cache_names)}>"

    # ------------------------------------------------------------------------------------------------ create and open

    @classmethod
    def create(
        cls,
        path: str | Path,
        caches: str | Path | Cache | Sequence[str | Path | Cache],
        *,
        classes: Sequence[str] = (),
        grades: Mapping[str, str] | Sequence[str] | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        labels: str | Path | Table | None = None,
        label_options: Mapping[str, Any] | None = None,
        audit: int = 0,
        start_from: str | Path | None = None,
        blocks: Mapping[str, str | Path | Table] | None = None,
        spectra: Mapping[str, str | Path | Sequence[str | Path]] | None = None,
        light_curves: Mapping[str, str | Path | Sequence[str | Path]] | None = None,
        photometry: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> Self:
        """Make a session.

        Parameters
        ----------
        path
            Folder of the new session; must not exist, or be empty.
        caches
            One or more caches: their paths, or `Cache` as `astroanomaly.ingest` returns it.
        classes
            Anomaly classes of your own beside ``nominal`` and ``anomaly``.
        grades
            Grades, the most certain first, and what they mean: ``{"A": "certain", ..., "X": "not a candidate"}``, or
            names only. The last one is another word for ``nominal``; the others are anomaly classes.
        settings
            Settings by section, as in ``{"train": {"iterations": 50}}``.
        labels
            Labels to begin with: the path of a table, or an `astropy.table.Table` or `~astropy.table.QTable`.
        label_options
            How they are read, by the names of `Session.import_labels`: ``label``, ``ra``, ``dec``, ``frame``, ``unit``,
            ``words``, ``skip_unmatched``, ``match_radius_arcsec``.
        audit
            Number of objects to draw at random for a blind check: never trained on.
        start_from
            Checkpoint of another session: its network becomes the first round; its classes, stretch and channels hold
            here too.
        blocks
            Numbers of each object that rankers on frozen features look at beside its image, by a name of your own: the
            path of a table, of an ``.npz`` with ids and embeddings, or an `astropy.table.Table`. The name
            ``"colours:g_r,r_i"`` takes these two columns; without columns all numbers are taken.
        spectra
            Spectra of objects, by a name of your own: file, folder or pattern, or a list of these. The name
            ``"sdss:spec_file"`` takes that catalogue column of the cache for what the spectra are called.
        light_curves
            Light curves of objects, named and given as spectra are; tables with a row for each measurement.
        photometry
            Also look at numbers measured on the cutouts: brightness, size, shape of the light, colours.
        progress
            Called with a `Progress` after each batch of images or light curves that are looked at.

        Raises
        ------
        AstroAnomalyError
            If anything given does not fit; then no session is left behind.
        """
        path = as_path(path, "the session")
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise SessionError(f"{path} exists already: open it, or choose another folder")
        folders = cache_folders(caches)
        refuse_injections(folders)
        cache = Cache.open(*(folder.absolute() for folder in folders))
        if not len(cache):
            raise SessionError(f"{folders[0]} holds no cutout: there is nothing to search in")
        if as_whole(audit, "audit") >= len(cache):
            raise ConfigError(f"an audit set of {audit} objects: expected 0 to {len(cache) - 1}")
        start_from = None if start_from is None else as_path(start_from, "start_from")
        graded = None if grades is None else Grades.of(grades)
        classes = [*(() if graded is None else graded.names[:-1]), *as_texts(classes, "classes")]
        read_as = LabelOptions.of(label_options)
        chosen = build_settings(
            {name: as_mapping(part, f"settings[{name!r}]") for name, part in as_mapping(settings, "settings").items()}
        )
        beside = read_beside(
            as_mapping(blocks, "blocks"), as_mapping(spectra, "spectra"), as_mapping(light_curves, "light_curves"),
            photometry=as_flag(photometry, "photometry"), cache=cache, config=chosen["blocks"],
            classes=(NOMINAL, ANOMALY, *classes), session=path, progress=progress,
        )  # fmt: skip
        seen, own, ranker, advice, backbone = what_the_model_sees(cache, chosen, classes, start_from, progress)
        chosen["backbone"] = backbone
        content: dict[str, Any] = {
            "format": "astroanomaly-session",
            "version": 0,  # by what it holds, see below
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "caches": [portable_path(folder, path) for folder in cache.folders],
            "classes": list(own),
            "settings": {section: to_plain(options) for section, options in chosen.items()},
            "seen": seen.to_plain(),
            "advice": [one.to_plain() for one in advice],
        }
        if beside:
            content["blocks"] = [one.to_plain() for one in beside]
        if graded is not None:
            check_grades(graded, own)
            content["grades"] = graded.to_plain()
        content["version"] = version_of(content)
        backbone = content["settings"]["backbone"]
        if Path(backbone["weights"]).is_file():
            backbone["weights"] = portable_path(Path(backbone["weights"]), path)
        with _all_or_nothing(path):
            LabelLog.create(path / LABELS, own).close()
            session = cls(path, content)
            session.cache = cache
            session.block_messages = tuple(text for one in beside for text in one.messages)
            for one in beside:
                one.write(path)
            if audit:
                drawn = cache.sample(audit, np.random.default_rng((chosen["session"].seed, 1)))
                uuids = [shard.uuid for shard in cache.shards]
                session.labels.set_audit(drawn, shards=uuids, population=len(cache))
            if labels is not None:
                session.label_report = import_labels(
                    session.labels, labels, cache.ids, cache.positions, annotator=user_name(), **read_as.keywords
                )
            if start_from is not None:
                made = session.ranker(ranker)
                with new_round(path / ROUNDS, ranker, 0) as first:
                    shutil.copyfile(start_from, first.round.weights)
                    first.recipe.update({"options": to_plain(made.options), "from": str(start_from)})
            write_records(path, {text: CacheRecord.of(stored_place(text, path)) for text in session.cache_names})
            session._save()
        return session

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a session.

        Raises
        ------
        UnreadableError
            If there is no session.
        SessionError
            If it is of a newer version or damaged.
        """
        path = as_path(path, "the session")
        if not (path / CONFIG_FILE).is_file():
            raise UnreadableError(f"{path} is no session: it has no {CONFIG_FILE}; make one with `astroanomaly init`")
        return cls(path, read_session(path))

    # ------------------------------------------------------------------------------------------------- what there is

    @cached_property
    def labels(self) -> LabelLog:
        """The log of all verdicts."""
        return LabelLog.open(self.path / LABELS, grades=self.grades)

    @cached_property
    def model_input(self) -> ModelInput:
        """What the model sees: stretch, channels and size, frozen when the session was made."""
        return ModelInput.from_plain(self._content["seen"])

    @property
    def advice(self) -> tuple[Advice, ...]:
        """What was measured of the images when the session was made, and chosen; empty in those of earlier versions."""
        return tuple(Advice.from_plain(plain) for plain in self._content.get("advice", ()))

    @property
    def last_round(self) -> Round:
        """The latest round that has scored all objects; that of `unfinished_round` is not.

        Raises
        ------
        SessionError
            If nothing has been trained, or nothing scored to the end yet.
        """
        rounds = self._trained
        for item in reversed(rounds):
            if item.is_scored(self.objects):
                return item
        raise SessionError(
            f"round {rounds[-1].number} of {self.path} has not scored all objects yet: run "
            f"`astroanomaly score {self.path}`, which goes on where it stopped"
        )

    @property
    def is_scored(self) -> bool:
        """Whether there is a round that has scored all objects."""
        return any(item.is_scored(self.objects) for item in reversed(self.rounds))

    @property
    def unfinished_round(self) -> Round | None:
        """The latest round, if it was trained but has not scored all objects: `score` goes on with it."""
        rounds = self.rounds
        return rounds[-1] if rounds and not rounds[-1].is_scored(self.objects) else None

    @property
    def _trained(self) -> list[Round]:
        """The rounds, of which there is at least one."""
        rounds = self.rounds
        if not rounds:
            raise SessionError(
                f"{self.path} has no trained ranker yet: run `astroanomaly train {self.path}`, "
                "or with --ranker cold, which needs no labels"
            )
        return rounds

    # ------------------------------------------------------------------------------------------ rankers and features

    def ranker(self, name: str, **options: Any) -> Ranker:
        """Make an unfitted ranker with this session's settings.

        Raises
        ------
        PluginError
            If there is no such ranker.
        ConfigError
            For an unknown option.
        """
        made = load_plugins("ranker").ranker(as_text(name, "ranker"))
        base: Any = build(made.Options, self.settings.get(made.section, {}), made.section)
        return made(replace_many(base, options, made.section), self.context)

    @property
    def context(self) -> RankerContext:
        """What rankers and frozen features are made with."""
        general = build(SessionConfig, self.section("session"), "session")
        backbone = build(BackboneConfig, self.section("backbone"), "backbone")
        weights = stored_place(backbone.weights, self.path)  # of a file; a word such as bundled is none
        if os.path.isfile(weights):  # a text that cannot be a path is none
            backbone = dataclasses.replace(backbone, weights=str(weights))
        return RankerContext(
            classes=self.classes,
            input=self.model_input,
            backbone=backbone,
            seed=general.seed,
            device=general.device,
            features=self.path / "features",
            engine=general.engine,
            blocks=stored_blocks(self._content, self.path),
        )

    def features(self, ids: Sequence[str]) -> np.ndarray:
        """Frozen features of some objects, computed where they are missing: ``(n, D)`` float32."""
        store = FeatureStore.of(self.cache, self.context)
        drain(store.compute(first=ids, only=()))
        return store.get(ids)

    def points(
        self, ids: Sequence[str], progress: Callable[[Progress], None] | None = None, *, by: str = IMAGE
    ) -> np.ndarray:
        """Return what objects are compared by: ``(n, D)`` float32 points, of which like ones are near one another.

        Features are computed where they are missing, of the random sample too that the scale is measured on.

        Parameters
        ----------
        ids
            The objects.
        progress
            Called with a `Progress` while features are computed.
        by
            ``image``: frozen features on the scale of the survey, of length 1. The name of a block: its numbers on the
            scale of the survey, NaN where nothing is known. ``together``: image and all blocks, each with the same
            variance.
        """
        store = FeatureStore.of(self.cache, self.context)
        audit = frozenset(self.labels.audit)
        if by not in (one.name for one in self.context.blocks):
            drain(
                store.compute(first=[*FeatureScaler.sample(store, self.context.seed, audit), *ids], only=()), progress
            )
        return Comparison(store, self.context, by, audit).get(ids)


@contextlib.contextmanager
def _all_or_nothing(path: Path) -> Iterator[None]:
    """Make a folder; take it away again if what follows fails."""
    was_there = path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        shutil.rmtree(path, ignore_errors=True)
        if was_there:
            path.mkdir()
        if isinstance(error, OSError) and not isinstance(error, StorageError | UnreadableError):
            raise StorageError(f"the session {path} cannot be made: {error.strerror or error}") from error
        raise


def user_name() -> str:
    """Return the name of whoever runs this process: of the account, but on a JupyterHub that of its user."""
    hub = os.environ.get("JUPYTERHUB_USER", "").strip()
    if hub:  # accounts in its containers have the same name for everybody
        return hub
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no user name in this container
        return "unknown"
