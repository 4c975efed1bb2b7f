"""How often is a set judged rightly by thresholds chosen without it? ``python benchmarks/up_thresholds.py up.jsonl``.

The file is what `up_or_sky.py` wrote. For each family of sets (by the word before the comma, as all sets of galaxies)
the two thresholds are chosen on all others: those with the fewest errors, in the middle of these. Then the sets of the
family are judged, with these thresholds and with those of the program.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from astroanomaly.learn import orientation
from astroanomaly.learn.orientation import Recognition, judge

QUARTERS, HALVES = np.arange(0.30, 0.56, 0.01), np.arange(0.52, 0.75, 0.01)


def family(line):
    name = line["name"].removeprefix("simulated ").removeprefix("sources of ")
    return line["kind"] + " " + name.split(",")[0].split(" ")[0]


def is_picture(line, quarter, half):
    orientation._QUARTER, orientation._HALF = quarter, half
    found = [Recognition(**line[which]) for which in ("outer", "inner", "even", "grey") if which in line]
    return judge(*found).has_up


def best(lines):
    """Thresholds with the fewest errors; of several the one nearest to the mean of these."""
    truth = np.array([line["kind"] == "picture" for line in lines])
    grid = [(quarter, half) for quarter in QUARTERS for half in HALVES]
    errors = np.array([sum([is_picture(line, *one) for line in lines] != truth) for one in grid])
    good = np.array(grid)[errors == errors.min()]
    return good[np.abs(good - good.mean(axis=0)).sum(axis=1).argmin()], errors.min()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    lines = [json.loads(line) for line in arguments.file.read_text().splitlines()]
    own = orientation._QUARTER, orientation._HALF
    families = sorted({family(line) for line in lines})
    chosen = {one: best([line for line in lines if family(line) != one])[0] for one in families}
    wrong = {"program": [], "without it": []}
    print("| kind | set | images | quarter | half | inside | evened | grey | thresholds without it | taken for |")
    print("|---" * 10 + "|")
    for line in lines:
        limits = chosen[family(line)]
        said = {"program": is_picture(line, *own), "without it": is_picture(line, *limits)}
        for name, picture in said.items():
            if picture != (line["kind"] == "picture"):
                wrong[name].append(line["name"])
        shown = [
            f"{line[which]['quarter']:.2f}, {line[which]['half']:.2f}" if which in line else ""
            for which in ("inner", "even", "grey")
        ]
        outer = line["outer"]
        print(
            f"| {line['kind']} | {line['name']} | {outer['images']} | {outer['quarter']:.2f} | {outer['half']:.2f} ± "
            f"{outer['error']:.2f} | {' | '.join(shown)} | {limits[0]:.2f}, {limits[1]:.2f} | "
            f"{'picture' if said['without it'] else 'sky'} |"
        )
    print(f"best on all: {best(lines)}; program {own}")
    for name, sets in wrong.items():
        kinds = {kind: sum(line["kind"] == kind for line in lines) for kind in ("sky", "picture")}
        print(f"{name}: {len(sets)} of {kinds} wrong: {'; '.join(sets)}")


if __name__ == "__main__":
    main()
