"""Frozen features: the embedding of every object by the pretrained network, computed once, kept on disk, mapped."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.config import BackboneConfig
from astroanomaly.learn.features.row_file import RowFile, open_rows
from astroanomaly.parallel.threads import SharedIterator, merged, prefetch
from astroanomaly.records import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from astroanomaly.cache import Cache, Shard
    from astroanomaly.cache.model_input import ModelInput
    from astroanomaly.hookspecs import RankerContext
    from astroanomaly.learn.engine.engine import Engine
    from astroanomaly.learn.engine.transfer import Sent
    from astroanomaly.learn.network.backbone import Backbone

__all__ = ["FeatureStore", "unit_length"]

_NEIGHBOURS_PER_READ = 32  # neighbouring objects of a shard that are read and computed together
_OPEN_SHARDS = 16  # shards that are filled at the same time
_MIN_IMAGES_PER_DEVICE = 20_000  # for fewer, another device costs more than it brings
Batch = tuple[str, np.ndarray]  # uuid of a shard, and rows of it
_VERSION = 2  # part of the key: raise it when the same inputs would give other features


def unit_length(features: np.ndarray, *, copy: bool = True) -> np.ndarray:
    """Scale features ``(n, D)`` to float32 rows of length 1; zero rows stay zero and NaN rows stay NaN."""
    scaled = np.array(features, dtype=np.float32, copy=copy or None)
    length = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))
    scaled /= np.where(length == 0, 1, length)[:, None]
    return scaled


class FeatureStore:
    """Frozen features of every object of a cache, float16, under a key of all that decides them.

    They are of the layers that the settings ask for, see `astroanomaly.learn.network.backbone.Backbone.parts`;
    ``widths`` says how many numbers each layer has.

    Finished shards lie in ``derived/<key>/<shard uuid>.npy`` of the cache folder if that can be written to, else in
    ``<folder>/<key>/``, else in memory. Objects are computed in random order, so that a ranking may cover what
    exists; a process that is killed loses at most the rows it was writing; several processes may work at once.
    Damaged cutouts have none.

    Parameters
    ----------
    cache
        The cutouts.
    model_input
        How they become the network's input.
    backbone_config
        The network and its weights.
    folder
        Where to keep features that the cache folder cannot take; None: memory.
    device
        Torch device name, or ``auto``.
    seed
        Seed of the order, and of random weights.
    batch_size
        Cutouts per pass through the network; 0: what suits the device.
    engine
        What the network runs on, see `astroanomaly.learn.engine`. Those of float32 agree within the last bits of
        float16 and share their features; those of bfloat16 and float16 have keys of their own.

    Raises
    ------
    CheckpointError
        If the model cannot look at this cache.
    """

    def __init__(
        self,
        cache: Cache,
        model_input: ModelInput,
        backbone_config: BackboneConfig,
        folder: Path | None = None,
        device: str = "auto",
        seed: int = 0,
        batch_size: int = 0,
        engine: str = "auto",
    ) -> None:
        self.cache = cache
        self.model_input = model_input
        self.backbone_config = backbone_config
        self.seed = seed
        self._given_batch_size = batch_size
        self._batch_sizes: dict[int, int] = {}  # by the number of devices used
        self._planes = model_input.check(cache)
        self._folder = folder
        self._device_name, self._engine_name = device, engine
        self._shards: dict[str, Shard] = {shard.uuid: shard for shard in cache.shards}
        self._numbers = [shard.uuid for shard in cache.shards]
        self._rows: dict[str, RowFile] = {}
        self._announced = ""

    @classmethod
    def of(cls, cache: Cache, context: RankerContext) -> FeatureStore:
        """Open the features that a ranker's context asks for."""
        return cls(
            cache,
            context.input,
            context.backbone,
            folder=context.features,
            device=context.device,
            seed=context.seed,
            engine=context.engine,
        )

    # ------------------------------------------------------------------------------------------------- what there is

    @cached_property
    def key(self) -> str:
        """Hexadecimal name of everything that decides the features, beside the shard."""
        from astroanomaly.learn.engine.precision import rounded_to
        from astroanomaly.learn.network.backbone import weights_hash

        parts = {
            "backbone": self.backbone_config.name,
            "weights": weights_hash(self.backbone_config, self.seed),
            "input": self.model_input.key,
            "layers": self.layers,
            "precision": "float16",
            "version": _VERSION,
        }
        if rounded_to(self._engine_name):
            parts["computed in"] = rounded_to(self._engine_name)
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

    def __len__(self) -> int:
        return len(self.cache)

    @property
    def layers(self) -> str:
        """Which layers they are of, see `astroanomaly.learn.network.backbone.Backbone.parts`."""
        return self.backbone_config.layers_of(self.model_input.views)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """How many features each layer has; they add up to D."""
        return self.network.widths(self.model_input.size)

    def embed(self, images: Tensor) -> Tensor:
        """``(n, D)`` features of the network's input ``(n, 3, S, S)``, averaged over its views."""
        return self._embedding_on(self.engine, self.network)(images)

    def _embedding_on(self, engine: Engine, network: Backbone) -> Callable[[Tensor], Tensor]:
        from astroanomaly.learn.preprocessing import average_views

        run = engine.run(network, "seen")
        return lambda images: average_views(run, images, self.model_input)

    @property
    def done(self) -> int:
        """Number of objects whose features exist."""
        return sum(self._open(uuid).done for uuid in self._numbers)

    def folders(self, uuid: str) -> list[Path]:
        """Folders where the features of a shard may lie, the preferred one first."""
        folders = [self._shards[uuid].folder / "derived" / self.key]
        if self._folder is not None:
            folders.append(Path(self._folder) / self.key)
        return folders

    def computed(self, uuid: str) -> np.ndarray:
        """``(n,)`` boolean: which objects of a shard have features."""
        return self._open(uuid).computed

    def shard(self, uuid: str) -> np.ndarray:
        """``(n, D)`` float16 features of a shard, read-only and memory-mapped; NaN rows are not computed yet."""
        rows = self._open(uuid)
        if rows.array is None:  # nothing yet: one NaN stands for all
            return np.broadcast_to(np.float16(np.nan), (len(self._shards[uuid]), sum(self.widths)))
        view = rows.array.view()
        view.flags.writeable = False
        return view

    def get(self, ids: Sequence[str]) -> np.ndarray:
        """``(n, D)`` float32 features of some objects, in the order given; NaN where not computed yet.

        Raises
        ------
        UnknownObjectError
            For an id that is not in the cache.
        """
        numbers, rows = self.cache.locate(ids)
        found: np.ndarray | None = None
        for number in np.unique(numbers):
            chosen = np.flatnonzero(numbers == number)
            features = self.shard(self._numbers[number])
            if found is None:
                found = np.empty((len(ids), features.shape[1]), np.float32)
            found[chosen] = features[rows[chosen]]
        return np.empty((0, sum(self.widths)), np.float32) if found is None else found

    # ----------------------------------------------------------------------------------------------------- computing

    def compute(self, first: Sequence[str] = (), only: Sequence[str] | None = None) -> Generator[Progress, None, None]:
        """Compute what is missing, in random order; drain the generator, or stop it at any time.

        Parameters
        ----------
        first
            Objects to begin with: those with labels.
        only
            Uuids of the shards to work on; None: all. An empty sequence computes nothing but ``first``.

        Yields
        ------
        Progress
            One report per batch, with the number of objects that have features now.
        """
        wanted = self._numbers if only is None else list(only)
        total = len(self)
        done = self.done
        missing = sum(len(self._shards[uuid]) - self._open(uuid).done for uuid in wanted)
        if done < total:
            yield Progress("features", done, total)
            self.expect(missing if only is None else missing + len(first))
        for _, new in self._fill(self._batches_of(first), len(first)):
            done += new
            yield Progress("features", done, total, message=self._remark())
        rng = np.random.default_rng(self.seed)
        unfinished = [uuid for uuid in wanted if not self._open(uuid).complete]
        left: Counter[str] = Counter()  # batches by shard
        for uuid in unfinished:
            self._open(uuid).finish()  # the process that computed the last of it may have been killed

        def batches() -> Iterator[Batch]:
            order = rng.permutation(len(unfinished))
            for start in range(0, len(order), _OPEN_SHARDS):
                group = [unfinished[i] for i in order[start : start + _OPEN_SHARDS]]
                found = list(self._random_batches(group, rng, missing))
                left.update(uuid for uuid, _ in found)
                yield from found

        for uuid, new in self._fill(batches(), missing):
            done += new
            left[uuid] -= 1
            if not left[uuid]:
                self._open(uuid).finish()
                self._shards[uuid].release()
            yield Progress("features", done, total, message=self._remark())

    def compute_shard(self, uuid: str) -> str:
        """Compute what is missing of one shard, without a look at the other shards.

        Returns
        -------
        str
            What the network ran on; empty where nothing was missing.
        """
        if self._open(uuid).complete:
            return ""
        missing = len(self._shards[uuid]) - self._open(uuid).done
        self.expect(missing)
        for _ in self._fill(self._random_batches([uuid], np.random.default_rng(self.seed), missing), missing):
            pass
        self._open(uuid).finish()
        self._shards[uuid].release()
        return self.engine.label

    @cached_property
    def network(self) -> Backbone:
        """The network, ready to run (built when first needed)."""
        from astroanomaly.learn.network.backbone import build_backbone

        network = build_backbone(self.backbone_config, size=self.model_input.size, layers=self.layers, seed=self.seed)
        self.engine.place(network)
        return network.requires_grad_(False)

    @cached_property
    def engines(self) -> list[Engine]:
        """What the network runs on, one for each device; they share the work."""
        from astroanomaly.learn.engine.engine import make_engines

        return make_engines(self._engine_name, self._device_name)

    @property
    def engine(self) -> Engine:
        """The first of them."""
        return self.engines[0]

    def _engines_for(self, images: int) -> list[tuple[Engine, Any]]:
        """Return the engines that so many images are worth, each with its own copy of the network."""
        used = enumerate(self._worth(images))
        return [(engine, engine.place(self.network, own=number > 0)) for number, engine in used]

    def expect(self, images: int) -> None:
        """Say how many images are to come, to the engines that share them."""
        used = self._worth(images)
        for engine in used:
            engine.expect(-(-images // len(used)))

    def _worth(self, images: int) -> list[Engine]:
        return self.engines[: max(1, images // _MIN_IMAGES_PER_DEVICE)]

    def _batch_size(self, images: int) -> int:
        """How many cutouts pass together where so many are to be computed: what suits every device that is used."""
        if self._given_batch_size:
            return self._given_batch_size
        used = self._engines_for(images)
        if len(used) not in self._batch_sizes:
            sizes = [
                engine.batch_size(self._embedding_on(engine, network), self.model_input.size)
                for engine, network in used
            ]
            self._batch_sizes[len(used)] = min(sizes)
        return self._batch_sizes[len(used)]

    def _remark(self) -> str:
        """Say what the network runs on, where that was not said before."""
        before, self._announced = self._announced, self.engine.label
        return "" if before == self._announced else f"features are computed with {self._announced}"

    def _batches_of(self, ids: Sequence[str]) -> Iterator[Batch]:
        """Give the missing ones among some objects, shard by shard."""
        numbers, rows = self.cache.locate(ids)
        for number in np.unique(numbers):
            uuid = self._numbers[number]
            missing = np.unique(rows[numbers == number])
            missing = missing[~self._open(uuid).computed[missing]]
            if len(missing):
                size = self._batch_size(len(ids))
                yield from ((uuid, missing[start : start + size]) for start in range(0, len(missing), size))

    def _random_batches(self, uuids: list[str], rng: np.random.Generator, images: int) -> Iterator[Batch]:
        """Give the missing objects of some shards in random order, a few runs of neighbours at a time."""
        runs_per_batch = max(1, self._batch_size(images) // _NEIGHBOURS_PER_READ)
        batches: list[Batch] = []
        for uuid in uuids:
            missing = np.flatnonzero(~self._open(uuid).computed)
            runs = np.array_split(missing, max(1, -(-len(missing) // _NEIGHBOURS_PER_READ)))
            order = rng.permutation(len(runs))
            for start in range(0, len(runs), runs_per_batch):
                rows = np.concatenate([runs[i] for i in order[start : start + runs_per_batch]])
                if len(rows):
                    batches.append((uuid, np.sort(rows)))
        for number in rng.permutation(len(batches)):
            yield batches[number]

    def _fill(self, batches: Iterator[Batch], images: int) -> Iterator[tuple[str, int]]:
        """Compute and keep the features of some objects; give the shard of each batch, and how many of it are new."""
        if (first := next(batches, None)) is None:
            return
        todo = SharedIterator(itertools.chain([first], batches))
        parts = [self._computed(engine, network, todo) for engine, network in self._engines_for(images)]
        for uuid, rows, features in parts[0] if len(parts) == 1 else merged(parts):
            yield uuid, self._open(uuid, for_writing=features.shape[1]).put(rows, features)

    def _computed(
        self, engine: Engine, network: Any, batches: Iterator[Batch]
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Compute features on one engine, as long as there are batches left; give where they belong, too."""
        import torch

        from astroanomaly.learn.preprocessing import to_tensor

        transfer, embed = engine.transfer, self._embedding_on(engine, network)
        waiting: deque[tuple[Batch, Callable[[], np.ndarray]]] = deque()

        def read(batch: Batch) -> Sent:
            return transfer.send(self._shards[batch[0]].stored(batch[1], damaged_too=True))

        def readable(uuid: str, rows: np.ndarray, features: np.ndarray) -> tuple[str, np.ndarray, np.ndarray]:
            there = ~np.isin(rows, sorted(self._shards[uuid].damaged_rows))
            return uuid, rows[there], features[there]

        for batch, sent in prefetch(read, batches, transfer.ahead, transfer.readers):
            with torch.inference_mode():
                seen = to_tensor(transfer.receive(sent), self.model_input, engine.device, self._planes)  # (n, 3, S, S)
                waiting.append((batch, transfer.fetch(embed(seen))))  # (n, D)
            while len(waiting) > transfer.behind:
                done, fetched = waiting.popleft()
                yield readable(*done, fetched())
        for done, fetched in waiting:
            yield readable(*done, fetched())

    def _open(self, uuid: str, for_writing: int = 0) -> RowFile:
        """Open the features of one shard; ``for_writing`` is their length, 0 to look only."""
        if uuid not in self._rows:
            self._rows[uuid] = open_rows(self.folders(uuid), uuid, len(self._shards[uuid]))
        rows = self._rows[uuid]
        if for_writing:
            rows.begin(for_writing)
        return rows

    def close(self) -> None:
        """Let go of all files; what was computed stays."""
        for rows in self._rows.values():
            rows.close()
        self._rows.clear()
