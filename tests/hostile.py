"""Files that hang, crash or bloat whoever reads them, and sources that do read them."""

import ctypes
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astroanomaly import CutoutBlock, Layout, Plan, Task, UnreadableError, each_watched, reading


def hang():
    """Wait for a minute in a library written in C that lets no other thread of Python run."""
    ctypes.PyDLL(None).usleep(60_000_000)


def crash():
    """Read where no memory is."""
    ctypes.string_at(0)


def bloat():
    """Ask for memory until there is none."""
    kept = []
    for _ in range(10**4):
        kept.append(np.empty(2**27, np.uint8))


def look_at(path):
    """Read a file that says what it does to its reader."""
    word = Path(path).read_text()
    {"hang": hang, "crash": crash, "bloat": bloat}.get(word, len)(*([] if word in ("hang", "crash", "bloat") else [""]))
    return word


def look_watched(path):
    """As `look_at`, and say what is read."""
    with reading(path):
        return look_at(path)


def where(_):
    """Say which process does it, a variable of its environment and its folder."""
    return os.getpid(), os.environ.get("HOSTILE"), os.getcwd()


def nested(seconds):
    """Read three files inside another, each for some seconds."""
    with reading("outer"):
        for name in ("a", "b", "c"):
            with reading(name):
                time.sleep(seconds)
    return "done"


class UnsendableError(Exception):
    """Of a library: it holds what cannot be pickled."""

    def __init__(self):
        super().__init__("broken")
        self.lock = threading.Lock()


def refuse_for_a_library(word):
    from tblib import pickling_support

    pickling_support.install()
    try:
        raise UnsendableError
    except UnsendableError as error:
        raise UnreadableError(f"{word} is damaged") from error


def refuse(word):
    """Refuse whatever comes."""
    raise UnreadableError(f"{word} is refused")


def kill_oneself(_):
    """End this process as the system does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def end_oneself(_):
    """End this process without a word."""
    os._exit(3)


@dataclass(frozen=True)
class NoOptions:
    """No options."""


class Texts:
    """Source of one cutout for each file; it says nothing of what it reads."""

    name, summary, Options = "texts", "texts", NoOptions
    look = staticmethod(look_at)

    def plan(self, request, options):
        """One task of all files."""
        names = sorted(path.name for path in Path(request.inputs[0]).iterdir())
        return Plan([Task("all", {"folder": request.inputs[0]}, {"id": np.array(names)})], Layout(("g",), 4, 4))

    def read(self, task):
        """Yield one cutout after another."""
        for name in task.table["id"].tolist():
            self.look(Path(task.payload["folder"]) / name)
            yield CutoutBlock(ids=[name], images=np.ones((1, 1, 4, 4), np.float32), bands=("g",))


class MarkedTexts(Texts):
    """The same source, which plans by looking at the files, and leaves out those that cannot be looked at."""

    name = "marked"
    look = staticmethod(look_watched)

    def plan(self, request, options):
        """One task of the files that can be read."""
        paths = sorted(Path(request.inputs[0]).iterdir())
        good = [
            path.name for path, word in zip(paths, each_watched(look_watched, paths), strict=True) if word == "good"
        ]
        return Plan([Task("all", {"folder": request.inputs[0]}, {"id": np.array(good)})], Layout(("g",), 4, 4))


def hang_at(_):
    """As `hang`, whatever is given."""
    hang()


def crash_at(_):
    """As `crash`, whatever is given."""
    crash()


def bloat_at(_):
    """As `bloat`, whatever is given."""
    bloat()
