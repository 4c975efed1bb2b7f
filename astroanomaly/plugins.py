"""Find, load, isolate and list plugins. An explicit factory; importing this module loads nothing."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import logging
import os
import re
import sys
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import pluggy

from astroanomaly.config import nearest
from astroanomaly.errors import PluginError
from astroanomaly.hookspecs import GROUP, CrossmatchService, HookSpecs, MovingObjectService, Ranker, Source

__all__ = ["ENVIRONMENT_VARIABLE", "BrokenPlugin", "Kind", "Registry", "load_plugins", "plugin_groups"]

Kind = Literal["source", "ranker", "crossmatch"]

ENVIRONMENT_VARIABLE = "ASTROANOMALY_PLUGINS"
_NAME = re.compile(r"[a-z][a-z0-9-]*")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that was skipped, and why."""

    name: str
    package: str
    reason: str


@dataclass
class Registry:
    """The sources, rankers and crossmatch services that were found, and the plugins that could not be loaded.

    Attributes
    ----------
    sources, rankers, crossmatches
        Registered objects by name.
    packages
        Package that brought each one, under ``(kind, name)`` with the kind ``source``, ``ranker`` or ``crossmatch``.
    broken
        Plugins that were skipped.
    """

    sources: dict[str, Source] = field(default_factory=dict)
    rankers: dict[str, type[Ranker]] = field(default_factory=dict)
    crossmatches: dict[str, CrossmatchService | MovingObjectService] = field(default_factory=dict)
    packages: dict[tuple[str, str], str] = field(default_factory=dict)
    broken: list[BrokenPlugin] = field(default_factory=list)

    def source(self, name: str) -> Source:
        """Return a source by name, or say which there are."""
        return self._get("source", self.sources, name)

    def ranker(self, name: str) -> type[Ranker]:
        """Return a ranker class by name, or say which there are."""
        return self._get("ranker", self.rankers, name)

    def _get(self, kind: str, known: dict[str, Any], name: str) -> Any:
        if name in known:
            return known[name]
        skipped = "".join(f"; plugin {item.name!r} was skipped: {item.reason}" for item in self.broken)
        raise PluginError(
            f"there is no {kind} {name!r}{nearest(name, known)} (installed: {', '.join(sorted(known))}){skipped}"
        )


def plugin_groups(kind: Kind | None = None) -> tuple[str, ...]:
    """Names of the entry-point groups whose plugins may bring objects of a kind; of all kinds for None."""
    kinds = get_args(Kind) if kind is None else (kind,)
    return (GROUP, *(_group_of(one) for one in kinds))


def _group_of(kind: str) -> str:
    return f"{GROUP}.{kind}{'es' if kind.endswith('ch') else 's'}"


def load_plugins(kind: Kind | None = None) -> Registry:
    """Load the installed plugins.

    The environment variable ``ASTROANOMALY_PLUGINS`` restricts loading to the entry points it names, separated by
    commas; empty, it loads none. A plugin that cannot be loaded is listed in `Registry.broken` and skipped.

    Parameters
    ----------
    kind
        Leave out the plugins whose entry point is in the group of another kind, such as ``astroanomaly.sources``; None
        loads all. Those in the group ``astroanomaly`` are always loaded, as they may bring any kind.

    Raises
    ------
    PluginError
        If two plugins register the same name.
    """
    registry = Registry()
    wanted = os.environ.get(ENVIRONMENT_VARIABLE)
    names = None if wanted is None else {name.strip() for name in wanted.split(",") if name.strip()}
    groups = plugin_groups(kind)
    installed = _entry_points(tuple((folder, _changed_at(folder)) for folder in sys.path))
    for point, package in installed:
        if point.group not in groups or (names is not None and point.name not in names):
            continue
        try:
            _register(registry, point, package)
        except _NameClashError as clash:
            raise PluginError(str(clash)) from None
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises must not stop the others
            reason = f"{type(error).__name__}: {error}"
            _log.warning("plugin %s of %s was skipped: %s", point.name, package, reason)
            registry.broken.append(BrokenPlugin(point.name, package, reason))
    for name in sorted((names or set()) - {point.name for point, _ in installed}):
        registry.broken.append(
            BrokenPlugin(name, "none", f"{ENVIRONMENT_VARIABLE} names it, but no installed package has it")
        )
    return registry


def _changed_at(folder: str) -> int:
    """Return when a folder of the module path last changed: a package was installed there, or removed."""
    try:
        return os.stat(folder or os.curdir).st_mtime_ns
    except OSError:  # there is no such folder
        return 0


@functools.lru_cache(maxsize=1)
def _entry_points(path: tuple[tuple[str, int], ...]) -> list[tuple[importlib.metadata.EntryPoint, str]]:
    """Return the entry points of installed plugins, and the package of each; reading them takes as long as the rest."""
    every = importlib.metadata.entry_points()
    found = [point for group in plugin_groups() for point in every.select(group=group)]
    points = sorted(found, key=lambda point: point.name)
    return [(point, point.dist.name if point.dist else "an unknown package") for point in points]


class _NameClashError(Exception):
    """Two plugins want the same name."""


def _register(registry: Registry, point: importlib.metadata.EntryPoint, package: str) -> None:
    """Load one plugin and take what it registers, all of it or nothing."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(HookSpecs)
    manager.register(point.load(), name=point.name)
    manager.check_pending()
    sources: list[Source] = []
    rankers: list[type[Ranker]] = []
    manager.hook.register_sources(register=sources.append)
    crossmatches: list[CrossmatchService | MovingObjectService] = []
    manager.hook.register_rankers(register=rankers.append)
    manager.hook.register_crossmatches(register=crossmatches.append)
    brought = {"source": sources, "ranker": rankers, "crossmatch": crossmatches}
    if not any(brought.values()):
        raise PluginError("it registers neither a source nor a ranker nor a crossmatch service")
    for kind, some in brought.items():
        if some and point.group not in (GROUP, _group_of(kind)):
            raise PluginError(f"it registers a {kind}, but its entry point is in the group {point.group}")
    for source in sources:
        _check("source", source, ("name", "summary", "Options", "plan", "read"))
    for ranker in rankers:
        _check(
            "ranker",
            ranker,
            ("name", "summary", "section", "Options", "needs_labels", "has_weights", "fit", "score", "save", "load"),
        )
    for service in crossmatches:
        needed = ("name", "summary", "address", "published", "batch", "values", "near")
        _check("crossmatch", service, needed, options=False)
    kinds: tuple[tuple[str, list[Any], dict[str, Any]], ...] = (
        ("source", sources, registry.sources),
        ("ranker", rankers, registry.rankers),
        ("crossmatch", crossmatches, registry.crossmatches),
    )
    for kind, found, known in kinds:
        for item in found:
            if item.name in known:
                raise _NameClashError(
                    f"two packages bring a {kind} named {item.name!r}: {registry.packages[kind, item.name]} and "
                    f"{package}; uninstall one, or set {ENVIRONMENT_VARIABLE} to the plugins you want"
                )
            known[item.name] = item
            registry.packages[kind, item.name] = package


def _check(kind: str, item: Any, needed: tuple[str, ...], *, options: bool = True) -> None:
    missing = [name for name in needed if not hasattr(item, name)]
    if missing:
        raise PluginError(f"its {kind} {getattr(item, 'name', item)!r} lacks {', '.join(missing)}")
    if not isinstance(item.name, str) or not _NAME.fullmatch(item.name):
        raise PluginError(f"its {kind} is named {item.name!r}; expected lower-case letters, digits and dashes")
    if options and not dataclasses.is_dataclass(item.Options):
        raise PluginError(f"Options of its {kind} {item.name!r} is not a dataclass")
