"""How often is a set judged rightly by thresholds chosen without it? ``python benchmarks/up_thresholds.py up.jsonl``.

The file is what `up_or_sky.py` wrote. For each set the two thresholds are chosen on all others: those with the fewest
errors, in the middle of these. Then the set is judged, with these thresholds and with those of the program. With
``--by family`` all sets of its family are left out with it (those with the same first word, as all photographs).
"""

import argparse
import json
from pathlib import Path

import numpy as np

from astroanomaly.learn import orientation
from astroanomaly.learn.orientation import Recognition, judge

GRID = [(quarter, half) for quarter in np.arange(0.30, 0.56, 0.01) for half in np.arange(0.52, 0.75, 0.01)]


def family(line):
    name = line["name"].removeprefix("simulated ").removeprefix("sources of ")
    return line["kind"] + " " + name.split(",")[0].split(" ")[0]


def verdict(line, quarter, half):
    orientation._QUARTER, orientation._HALF = quarter, half
    found = [Recognition(**line[which]) for which in ("outer", "inner", "even", "grey") if which in line]
    return judge(*found)


def is_wrong(line, said):
    return said.has_up != (line["kind"] == "picture")


def best(errors):
    """Thresholds with the fewest errors ``(sets, grid)``; of several the one nearest to the mean of these."""
    total = errors.sum(axis=0)
    good = np.array(GRID)[total == total.min()]
    return good[np.abs(good - good.mean(axis=0)).sum(axis=1).argmin()], total.min()


def shown_verdict(line, said):
    text = ("picture" if said.has_up else "sky") + ("" if said.sure else ", not sure")
    return f"**{text}**" if is_wrong(line, said) else text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--by", choices=("set", "family"), default="set")
    arguments = parser.parse_args()
    lines = [json.loads(line) for line in arguments.file.read_text().splitlines()]
    own = orientation._QUARTER, orientation._HALF
    group = family if arguments.by == "family" else (lambda line: line["name"])
    errors = np.array([[is_wrong(line, verdict(line, *one)) for one in GRID] for line in lines])
    groups = np.array([group(line) for line in lines])
    chosen = {one: best(errors[groups != one])[0] for one in groups}
    wrong, doubtful = {"program": [], "without it": []}, {"program": [], "without it": []}
    heads = "kind, set, images, quarter, half, inside, evened, grey, thresholds without it, by these, by the program"
    print("| " + heads.replace(", ", " | ") + " |")
    print("|---" * 11 + "|")
    for line in lines:
        limits = chosen[group(line)]
        said = {"program": verdict(line, *own), "without it": verdict(line, *limits)}
        for name, one in said.items():
            if is_wrong(line, one):
                wrong[name].append(line["name"] + ("" if one.sure else " (not sure)"))
            elif not one.sure:
                doubtful[name].append(line["name"])
        shown = [
            f"{line[which]['quarter']:.2f}, {line[which]['half']:.2f}" if which in line else ""
            for which in ("inner", "even", "grey")
        ]
        outer = line["outer"]
        print(
            f"| {line['kind']} | {line['name']} | {outer['images']} | {outer['quarter']:.2f} | {outer['half']:.2f} ± "
            f"{outer['error']:.2f} | {' | '.join(shown)} | {limits[0]:.2f}, {limits[1]:.2f} | "
            f"{' | '.join(shown_verdict(line, said[name]) for name in ('without it', 'program'))} |"
        )
    print(f"best on all: {best(errors)}; program {own}")
    for name, sets in wrong.items():
        kinds = {kind: sum(line["kind"] == kind for line in lines) for kind in ("sky", "picture")}
        print(f"{name}: {len(sets)} of {kinds} wrong: {'; '.join(sets)}")
        print(f"  right, and not sure: {'; '.join(doubtful[name])}")


if __name__ == "__main__":
    main()
