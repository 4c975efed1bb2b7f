"""What the workers of a cluster import in tests: a source, and how they are made to die at a chosen moment."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astroanomaly import CutoutBlock, Failure, Layout, Plan, Task, option
from astroanomaly.errors import PluginError
from astroanomaly.ingestion import workers
from astroanomaly.parallel.watched import Watch
from astroanomaly.session import cluster_tasks
from astroanomaly.session.survey import remote


@dataclass(frozen=True)
class Settings:
    count: int = option(20, "objects a task")
    tasks: int = option(8, "tasks")
    wait: float = option(0.0, "seconds a task takes")
    broken: int = option(-1, "task that cannot be read")


class Noise:
    """Cutouts of noise, every seventh a failure."""

    name = "cluster-noise"
    summary = "cutouts of noise"
    Options = Settings

    def plan(self, request, options):
        tasks = [
            Task(
                f"t{number}",
                {"seed": number, "wait": options.wait, "broken": number == options.broken},
                {"object_id": np.array([f"{number}-{i}" for i in range(options.count)])},
            )
            for number in range(options.tasks)
        ]
        return Plan(tasks, Layout(("g", "r"), 8, 8))

    def read(self, task):
        time.sleep(task.payload["wait"])
        if task.payload["broken"]:
            raise PluginError(f"task {task.key} cannot be read")
        rng = np.random.default_rng(task.payload["seed"])
        ids = task.table["object_id"].tolist()
        images = rng.normal(size=(len(ids), 2, 8, 8)).astype(np.float32)
        bad = np.arange(len(ids)) % 7 == 3
        for object_id, failed in zip(ids, bad, strict=True):
            if failed:
                yield Failure(object_id, "every seventh")
        good = np.flatnonzero(~bad)
        yield CutoutBlock(ids=[ids[i] for i in good], images=images[good], bands=("g", "r"))


def small_batches():
    """Have every task of `Noise` be a batch, and so a shard, of its own."""
    workers._BATCH_BYTES = 4096


def die(folder, deaths):
    """Kill this process, if fewer than so many have died yet."""
    for number in range(deaths):
        try:
            Path(folder, f"death-{number}").touch(exist_ok=False)
        except FileExistsError:
            continue
        os.kill(os.getpid(), signal.SIGKILL)


def die_after_writing_shards(folder, deaths):
    """Die when a batch is read and its shard written, before anybody knows."""

    whole = Watch.call

    def mortal(self, function, item):
        done = whole(self, function, item)
        die(folder, deaths)
        return done

    Watch.call = mortal


def die_after_writing_scores(folder, deaths):
    """Die when the scores of a shard are written, before anybody knows."""
    write = cluster_tasks.write_scores

    def mortal(*arguments):
        write(*arguments)
        die(folder, deaths)

    cluster_tasks.write_scores = mortal


def die_after_scoring_a_survey(folder, deaths, function):
    """Die after `score_part` or `rescored`, before anybody knows."""
    whole = getattr(remote, function)

    def mortal(*arguments):
        done = whole(*arguments)
        die(folder, deaths)
        return done

    setattr(remote, function, mortal)


def kill_yourself(_):
    os.kill(os.getpid(), signal.SIGKILL)


def fail_to_add(number):
    return number + "1"


def double(number):
    return 2 * number
