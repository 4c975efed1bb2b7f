"""Find the rare objects in an astronomical imaging survey from a handful of examples.

The names below are the public surface. They are loaded when first used, so that ``import astroanomaly`` stays light:
it brings in neither torch nor bokeh nor astroquery nor scikit-learn.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from astroanomaly._version import __version__

if TYPE_CHECKING:
    from astroanomaly.cache import Cache
    from astroanomaly.cache.check import Damage, Integrity
    from astroanomaly.config import FetchConfig, option
    from astroanomaly.cutting.grids import Grid
    from astroanomaly.errors import (
        AstroAnomalyError,
        BandError,
        BudgetError,
        BusyError,
        CacheError,
        CatalogError,
        CheckpointError,
        ClusterError,
        ConfigError,
        DamagedError,
        FetchError,
        FootprintError,
        LabelError,
        PluginError,
        SessionError,
        StorageError,
        TrainingError,
        UnknownObjectError,
        UnreadableError,
    )
    from astroanomaly.hookspecs import CrossmatchService, MovingObjectService, Ranker, RankerContext, Source, hookimpl
    from astroanomaly.imaging.bands import wavelength_nm
    from astroanomaly.ingestion.ingest import ingest
    from astroanomaly.ingestion.preview import Preview, preview
    from astroanomaly.learn.advice import Advice, advise
    from astroanomaly.learn.rankers.feature_ranker import FeatureRanker
    from astroanomaly.learn.rankers.outlier_ranker import OutlierOptions, OutlierRanker
    from astroanomaly.learn.training.pretraining import pretrain
    from astroanomaly.parallel.limits import ReadLimits
    from astroanomaly.parallel.watch import reading
    from astroanomaly.parallel.watched import each_watched
    from astroanomaly.records import (
        Cutout,
        CutoutBlock,
        Download,
        Fact,
        Failure,
        Labelled,
        Layout,
        Plan,
        Progress,
        Request,
        ShardScores,
        Task,
    )
    from astroanomaly.session.session import Session
    from astroanomaly.tables.catalog import Catalog, read_catalog
    from astroanomaly.tables.given import GivenTable, given_catalog
    from astroanomaly.tables.hats import Area, HatsPart, hats_parts, is_hats
    from astroanomaly.tables.hdf5 import hdf5_links, open_hdf5
    from astroanomaly.tables.names import NameMatcher
    from astroanomaly.tables.parquet import open_parquet
    from astroanomaly.tables.read import read_texts
    from astroanomaly.tables.text import TextTable, typed_column
    from astroanomaly.tables.votable import read_votable

_HOMES = {
    "imaging.bands": ("wavelength_nm",),
    "cache": ("Cache",),
    "cache.check": ("Damage", "Integrity"),
    "tables.catalog": ("Catalog", "read_catalog"),
    "tables.given": ("GivenTable", "given_catalog"),
    "tables.names": ("NameMatcher",),
    "tables.hats": ("Area", "HatsPart", "hats_parts", "is_hats"),
    "tables.hdf5": ("hdf5_links", "open_hdf5"),
    "tables.parquet": ("open_parquet",),
    "tables.read": ("read_texts",),
    "tables.text": ("TextTable", "typed_column"),
    "tables.votable": ("read_votable",),
    "cutting.grids": ("Grid",),
    "config": ("FetchConfig", "option"),
    "errors": (
        "AstroAnomalyError",
        "BandError",
        "BudgetError",
        "BusyError",
        "CacheError",
        "CatalogError",
        "CheckpointError",
        "ClusterError",
        "ConfigError",
        "DamagedError",
        "FetchError",
        "FootprintError",
        "LabelError",
        "PluginError",
        "SessionError",
        "StorageError",
        "TrainingError",
        "UnknownObjectError",
        "UnreadableError",
    ),
    "hookspecs": ("CrossmatchService", "MovingObjectService", "Ranker", "RankerContext", "Source", "hookimpl"),
    "ingestion.ingest": ("ingest",),
    "ingestion.preview": ("Preview", "preview"),
    "learn.advice": ("Advice", "advise"),
    "learn.rankers.feature_ranker": ("FeatureRanker",),
    "learn.rankers.outlier_ranker": ("OutlierOptions", "OutlierRanker"),
    "learn.training.pretraining": ("pretrain",),
    "parallel.limits": ("ReadLimits",),
    "parallel.watch": ("reading",),
    "parallel.watched": ("each_watched",),
    "records": (
        "Cutout",
        "CutoutBlock",
        "Download",
        "Fact",
        "Failure",
        "Labelled",
        "Layout",
        "Plan",
        "Progress",
        "Request",
        "ShardScores",
        "Task",
    ),
    "session.session": ("Session",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Advice",
    "Area",
    "AstroAnomalyError",
    "BandError",
    "BudgetError",
    "BusyError",
    "Cache",
    "CacheError",
    "Catalog",
    "CatalogError",
    "CheckpointError",
    "ClusterError",
    "ConfigError",
    "CrossmatchService",
    "Cutout",
    "CutoutBlock",
    "Damage",
    "DamagedError",
    "Download",
    "Fact",
    "Failure",
    "FeatureRanker",
    "FetchConfig",
    "FetchError",
    "FootprintError",
    "GivenTable",
    "Grid",
    "HatsPart",
    "Integrity",
    "LabelError",
    "Labelled",
    "Layout",
    "MovingObjectService",
    "NameMatcher",
    "OutlierOptions",
    "OutlierRanker",
    "Plan",
    "PluginError",
    "Preview",
    "Progress",
    "Ranker",
    "RankerContext",
    "ReadLimits",
    "Request",
    "Session",
    "SessionError",
    "ShardScores",
    "Source",
    "StorageError",
    "Task",
    "TextTable",
    "TrainingError",
    "UnknownObjectError",
    "UnreadableError",
    "__version__",
    "advise",
    "each_watched",
    "given_catalog",
    "hats_parts",
    "hdf5_links",
    "hookimpl",
    "ingest",
    "is_hats",
    "open_hdf5",
    "open_parquet",
    "option",
    "pretrain",
    "preview",
    "read_catalog",
    "read_texts",
    "read_votable",
    "reading",
    "typed_column",
    "wavelength_nm",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'astroanomaly' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"astroanomaly.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
