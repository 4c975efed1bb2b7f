"""Is it seen whether images have an up? ``ASTROANOMALY_DATA=FOLDER python benchmarks/up_or_sky.py --out up.jsonl``.

Many unlike sets with an up (`picture_sets.py`) and without one (`sky_sets.py`) are measured as ``astroanomaly init``
does it. A line of the file is a set: how often a turn by quarters and one of 180 degrees is told within the outer
circle, within the inner one, without what the background of all images has in common, and without colours.
`up_thresholds.py` chooses thresholds on all sets but one, and judges that one. Sets that the file has already are not
measured again.
"""

import argparse
import json
import os
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from picture_sets import pictures
from sky_sets import skies

from astroanomaly.learn.orientation import INNER, OUTER, SIDE, even, grey, prepare, quadrants, recognise_rotations
from astroanomaly.learn.preprocessing import resize

DOUBTFUL = 0.3, 0.54  # below, no threshold would find an up


def tensor(images):
    return resize(torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 255, SIDE)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=400, help="of each set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=("sky", "picture"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    data = Path(os.environ["ASTROANOMALY_DATA"])
    lines = arguments.out.read_text().splitlines() if arguments.out.exists() else ()
    done = {json.loads(line)["name"] for line in lines}
    features = quadrants(100 * arguments.images)
    for kind, sets in (("sky", skies), ("picture", pictures)):
        if arguments.kind not in (None, kind):
            continue
        rng = np.random.default_rng(arguments.seed)
        for name, images in sets(data, rng, arguments.images):
            if name in done:
                continue
            start, own = time.perf_counter(), np.random.default_rng(arguments.seed)
            seen = tensor(images[own.permutation(len(images))])
            found = {"outer": recognise_rotations(prepare(seen, OUTER, own), features)}
            if found["outer"].quarter > DOUBTFUL[0] and found["outer"].half > DOUBTFUL[1]:
                found["inner"] = recognise_rotations(prepare(seen, INNER, own), features)
                found["even"] = recognise_rotations(prepare(even(seen), OUTER, own), features)
                found["grey"] = recognise_rotations(prepare(grey(seen), OUTER, own), features)
            line = {"kind": kind, "name": name} | {which: asdict(one) for which, one in found.items()}
            with arguments.out.open("a") as file:
                file.write(json.dumps(line) + "\n")
            shown = "  ".join(f"{which} {one.quarter:.2f} {one.half:.2f}" for which, one in found.items())
            print(f"{kind:7s} {name:36s} {len(images):4d}  {shown}  {time.perf_counter() - start:5.1f} s", flush=True)


if __name__ == "__main__":
    main()
