"""Read damaged and hostile files by the million: each is refused, is a recorded failure, or gives data; nothing else.

    python benchmarks/trust/fuzz.py --inputs 1000000 --processes 2 --out fuzzed

Every input is a small file that we have written, with edits drawn at random: bits, lengths, header cards, items of
HDF5, JSON and SQL. It goes through the door that the program uses, in a child process whose memory, time, addresses,
files and programs are watched. Inputs that once came to a fault are read first (`corpus.py`). Of each input one of
these comes:

* same: the data of the file without the edits. changed: other data, which no digest of ours covers.
* failed: an object is a recorded failure. refused: an `AstroAnomalyError` says what is wrong.
* contained: the door alone dies of it, but the command, which has its files read by processes with limits, goes on or
  says what is wrong.
* traceback, crash (a signal), hang (more than 10 s of processor time), memory (more than 3 GB), silent (other data
  although a digest covers them), request (to any address), outside (another file was read or written), code (a program
  was started, or a pickle opened). These are faults. The first of each is kept in ``--out`` as a minimal input.

A run that was stopped goes on where it was, with the same ``--out``, ``--inputs`` and ``--seed``.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # a process that has threads cannot be forked

import argparse  # noqa: E402
import hashlib  # noqa: E402
import itertools  # noqa: E402
import json  # noqa: E402
import signal  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from collections.abc import Iterable, Iterator  # noqa: E402
from dataclasses import asdict, dataclass, field  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from cache_kinds import CACHE_KINDS  # noqa: E402
from corpus import CORPUS  # noqa: E402
from edits import Edit, apply_edits  # noqa: E402
from image_kinds import IMAGE_KINDS  # noqa: E402
from kind import Kind  # noqa: E402
from session_kinds import SESSION_KINDS  # noqa: E402
from table_kinds import TABLE_KINDS  # noqa: E402
from text_kinds import TEXT_KINDS  # noqa: E402
from watched import OUTCOMES, Fault, Job, Seeds, Worker, run_one  # noqa: E402

KINDS = {kind.name: kind for kind in (*IMAGE_KINDS, *TABLE_KINDS, *CACHE_KINDS, *SESSION_KINDS, *TEXT_KINDS)}
_MAX_JOB = 2000  # inputs that one child reads
_MAX_TRIES = 60  # to make an input smaller
_MAX_COMMAND_S = 600.0  # the limits of the program itself come before


@dataclass
class Figures:
    """What came of the inputs of one kind."""

    done: list[int] = field(default_factory=list)  # first numbers of the jobs that are done
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    peak_mb: float = 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000, help="of all kinds together (default: 10,000)")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only this kind; may be repeated")
    parser.add_argument("--out", type=Path, default=Path("fuzzed"), help="folder of faults and of progress")
    arguments = parser.parse_args()
    kinds = [KINDS[name] for name in arguments.kind or KINDS]
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no child stays behind
    arguments.out.mkdir(parents=True, exist_ok=True)
    run = Run(arguments.out, kinds, arguments.inputs, arguments.seed)
    known = run.replay()
    run.go(arguments.processes)
    print(run.table())
    print(f"\nand {known} inputs that once came to a fault; {time.monotonic() - began:.0f} s")
    for signature, (number, fault) in run.faults.items():
        print(f"{number} x {signature}", file=sys.stderr)
        run.keep(fault, signature)
    return 1 if run.faults else 0


class Run:
    """A run with its progress, which is kept in a folder.

    Parameters
    ----------
    out
        The folder.
    kinds
        What is read.
    inputs
        How many of all kinds together.
    seed
        Of all that is drawn.
    """

    def __init__(self, out: Path, kinds: Iterable[Kind], inputs: int, seed: int) -> None:
        self.out, self.kinds, self.seed = out, list(kinds), seed
        total = sum(kind.share for kind in self.kinds)
        self.wanted = {kind.name: max(1, round(inputs * kind.share / total)) for kind in self.kinds}
        self.figures = {kind.name: Figures() for kind in self.kinds}
        self.faults: dict[str, tuple[int, Fault]] = {}
        self.seeds = {kind.name: _load_seeds(kind, out / "seeds" / kind.name.replace(" ", "-")) for kind in self.kinds}
        self._identity = {"inputs": self.wanted, "seed": seed}
        self._resume()

    # ------------------------------------------------------------------------------------------------------- reading

    def replay(self) -> int:
        """Read the inputs that once came to a fault; return how many there are."""
        mine = [(KINDS[name], seed, edits) for name, seed, edits in CORPUS if KINDS[name] in self.kinds]
        for kind, seed, edits in mine:
            fault = run_one(kind, self.seeds[kind.name], seed, edits)
            if fault is not None and not is_contained(kind, self.seeds[kind.name], fault):
                self._add(fault)
        return len(mine)

    def go(self, processes: int) -> None:
        """Read all inputs that have not been read."""
        jobs, running = self._jobs(), []
        try:
            while True:
                while len(running) < processes and (job := next(jobs, None)):
                    running.append(Worker(job, self.seeds[job.kind.name], self.seed))
                if not running:
                    break
                ended = [worker for worker in running if worker.look()]
                running = [worker for worker in running if worker not in ended]
                for worker in ended:
                    self._take(worker.job)
                time.sleep(0.02)
        finally:
            for worker in running:
                worker.close()

    def _jobs(self) -> Iterator[Job]:
        """Give jobs, of all kinds in turn."""
        lists = []
        for kind in self.kinds:
            wanted, done = self.wanted[kind.name], set(self.figures[kind.name].done)
            starts = [start for start in range(0, wanted, _MAX_JOB) if start not in done]
            lists.append([Job(kind, start, min(start + _MAX_JOB, wanted)) for start in starts])
        return (job for turn in itertools.zip_longest(*lists) for job in turn if job)

    def _take(self, job: Job) -> None:
        figures = self.figures[job.kind.name]
        figures.done.append(job.start)
        for fault in list(job.faults):
            if is_contained(job.kind, self.seeds[job.kind.name], fault):
                job.faults.remove(fault)
                job.counts.update({fault.outcome: -1, "contained": 1})
        figures.counts.update(job.counts)
        figures.seconds += job.seconds
        figures.peak_mb = max(figures.peak_mb, job.peak_mb)
        for fault in job.faults:
            self._add(fault)
        self._save()

    def _add(self, fault: Fault) -> None:
        number, first = self.faults.get(fault.signature, (0, fault))
        self.faults[fault.signature] = (number + 1, first)

    # ------------------------------------------------------------------------------------------------------ progress

    def _resume(self) -> None:
        path = self.out / "progress.json"
        if not path.exists():
            return
        kept = json.loads(path.read_text())
        if kept["run"] != self._identity:
            raise SystemExit(f"{self.out} holds another run, of {kept['run']}: choose another --out")
        for name, values in kept["figures"].items():
            self.figures[name] = Figures(
                values["done"], Counter(values["counts"]), values["seconds"], values["peak_mb"]
            )
        self.faults = {signature: (number, Fault(**fault)) for signature, number, fault in kept["faults"]}

    def _save(self) -> None:
        content = {
            "run": self._identity,
            "figures": {name: vars(figures) for name, figures in self.figures.items()},
            "faults": [[signature, number, asdict(fault)] for signature, (number, fault) in self.faults.items()],
        }
        temporary = self.out / "progress.json.new"
        temporary.write_text(json.dumps(content))
        temporary.replace(self.out / "progress.json")

    # -------------------------------------------------------------------------------------------------------- results

    def table(self) -> str:
        """Return the figures as a table of Markdown."""
        head = ("kind", "inputs", *OUTCOMES, "of a million", "ms each", "MB at most")
        shares = sum(kind.share for kind in KINDS.values())
        rows = [head, ("---",) * len(head)]
        total: Counter[str] = Counter()
        for name, found in self.figures.items():
            number = found.counts.total()
            counts = [found.counts[outcome] for outcome in OUTCOMES]
            each = f"{1000 * found.seconds / number:.1f}" if number else ""
            share = f"{round(1_000_000 * KINDS[name].share / shares):,}"
            row = (name, f"{number:,}", *(f"{count:,}" for count in counts), share, each, f"{found.peak_mb:.0f}")
            rows.append(row)
            total.update(found.counts)
        counts = [f"{total[outcome]:,}" for outcome in OUTCOMES]
        rows.append(("all", f"{total.total():,}", *counts, "", "", ""))
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)

    def keep(self, fault: Fault, signature: str) -> None:
        """Keep the smallest input found that comes to the same."""
        name = f"{fault.kind.replace(' ', '-')}-{fault.outcome}-{hashlib.sha256(signature.encode()).hexdigest()[:8]}"
        folder = self.out / "faults" / name
        if folder.exists():
            return
        kind, seeds = KINDS[fault.kind], self.seeds[fault.kind]
        edits = smallest(kind, seeds, fault)
        folder.mkdir(parents=True)
        (folder / "input").write_bytes(apply_edits(seeds.contents[fault.seed], edits))
        about: dict[str, Any] = {**asdict(fault), "edits": edits, "signature": signature}
        (folder / "fault.json").write_text(json.dumps(about, indent=1))


def is_contained(kind: Kind, seeds: Seeds, fault: Fault) -> bool:
    """Whether the command lives on after an input that its door alone dies of."""
    if kind.command is None or fault.outcome not in ("crash", "hang", "memory"):
        return False
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder) / (f"x.{fault.seed.rpartition('.')[2]}" if "." in fault.seed else "x.fits")
        path.write_bytes(apply_edits(seeds.contents[fault.seed], fault.edits))
        words = [*kind.command(seeds.folder, fault.seed, path), "--out", f"{folder}/cache", "--workers", "1"]
        try:
            ended = subprocess.run(
                [sys.executable, "-m", "astroanomaly", *words], capture_output=True, text=True, timeout=_MAX_COMMAND_S
            )
        except subprocess.TimeoutExpired:
            return False
    return ended.returncode in (0, 2) and "Traceback" not in ended.stderr


def smallest(kind: Kind, seeds: Seeds, fault: Fault) -> list[Edit]:
    """Take away edits, and halves of texts, as long as the same fault comes of it."""
    tries = iter(range(6 if fault.outcome == "hang" else _MAX_TRIES))

    def same(edits: list[Edit]) -> bool:
        found = run_one(kind, seeds, fault.seed, edits) if next(tries, None) is not None else None
        return found is not None and found.signature == fault.signature

    return _fewer(fault.edits, same)


def _fewer(edits: list[Edit], same: Any) -> list[Edit]:
    edits = list(edits)
    for place in reversed(range(len(edits))):
        without = edits[:place] + edits[place + 1 :]
        if without and same(without):
            edits = without
    for place, edit in enumerate(edits):
        if edit[0] == "inside":
            inner = _fewer(
                edit[2], lambda new, at=place, old=edit: same([*edits[:at], (*old[:2], new), *edits[at + 1 :]])
            )
            edits[place] = (*edit[:2], inner)
        elif edit[0] == "whole":
            text, part = edit[1], max(1, len(edit[1]) // 2)
            while part:
                cut = 0
                while cut < len(text):
                    shorter = text[:cut] + text[cut + part :]
                    if same([*edits[:place], ("whole", shorter), *edits[place + 1 :]]):
                        text = shorter
                    else:
                        cut += part
                part //= 2
            edits[place] = ("whole", text)
    return edits


def _load_seeds(kind: Kind, folder: Path) -> Seeds:
    """Make the seeds of a kind, or read those of an earlier run; each has to be what the door takes."""
    base, files, index = folder / "folder", folder / "seeds", folder / "seeds.json"
    if not index.exists():
        base.mkdir(parents=True, exist_ok=True)
        files.mkdir(exist_ok=True)
        names = {}
        for number, (name, content) in enumerate(kind.seeds(base).items()):
            (files / str(number)).write_bytes(content)
            names[name] = str(number)
        index.write_text(json.dumps(names))
    contents = {name: (files / file).read_bytes() for name, file in json.loads(index.read_text()).items()}
    return Seeds(contents, base)


if __name__ == "__main__":
    sys.exit(main())
