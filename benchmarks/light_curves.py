"""Measure what light curves beside the image bring: ``python benchmarks/light_curves.py CACHE --truth T --anomaly A``.

The images are real, the light curves are simulated, so that only they differ between the lines:

* magnitudes in g and r over 3 years, in seasons of 7 months, ``--points`` in each band by Poisson; mean magnitudes from
  17.5 to 20, errors of 0.01 to 0.1 mag that grow with them, and are wrong by a factor that scatters by 1.15;
* of nominal objects, 85 % are constant, 10 % vary as active galaxies do (a damped random walk of 100 days, MacLeod et
  al. 2010, with 0.05 to 0.3 mag), and 5 % have a few points that are far out;
* ``transient``: anomalies, else constant, brighten within 15 days and fade over 60, by 0.3 to 1 mag;
* ``periodic``: they vary as RR Lyrae stars do, a saw tooth of 0.4 to 0.9 days, of ``--amplitude`` mag;
* ``eclipses``: they fade by 0.2 to 0.6 mag for 8 % of a period of 1 to 5 days;
* ``useless``: anomalies are drawn as nominal objects are;
* ``half``: as *transient*, but half of the objects have no light curve.

The features are those of the program. AUPRC of all objects without a label, after labels drawn at random, as in
``blocks.py``.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from blocks import beside_image, known_objects, rarer

from astroanomaly.cache import Cache
from astroanomaly.learn.features.light_curves import curve_names, curve_numbers

DAYS, SEASON = 1095.0, 213.0


def times(rng, points):
    """Days of the measurements in one band, rising."""
    found = rng.uniform(0, DAYS, rng.poisson(points * 365 / SEASON))
    return np.sort(found[found % 365 < SEASON])


def walk(rng, time, days=100.0):
    """Draw a damped random walk of variance 1 at some times."""
    found = np.zeros(len(time))
    value = rng.normal()
    for k, step in enumerate(np.diff(time, prepend=time[:1])):
        kept = np.exp(-step / days)
        value = value * kept + rng.normal() * (1 - kept**2) ** 0.5
        found[k] = value
    return found


def change(rng, kind, time, band, amplitude):
    """``(n,)`` magnitudes that a source of some kind is fainter by."""
    if kind in ("transient", "half"):
        after = time - rng.uniform(30, DAYS - 200)
        return -rng.uniform(0.3, 1) * np.where(after < 0, np.exp(after / 5), np.exp(-after / 60))
    if kind == "periodic":
        phase = (time / rng.uniform(0.4, 0.9) + rng.random()) % 1
        return amplitude * np.where(band == 0, 1, 0.75) * np.where(phase < 0.85, phase / 0.85, (1 - phase) / 0.15)
    if kind == "eclipses":
        return np.where((time / rng.uniform(1, 5) + rng.random()) % 1 < 0.08, rng.uniform(0.2, 0.6), 0)
    return 0


def simulate(rng, odd, kind, options):
    """Time, magnitude, error and band of one light curve."""
    parts = [times(rng, options.points) for _ in range(2)]
    band = np.repeat([0, 1], [len(one) for one in parts])
    time = np.concatenate(parts)
    order = np.argsort(time)
    time, band = time[order], band[order]
    mean = rng.uniform(17.5, 20)
    error = 0.01 * 10 ** (0.4 * (mean - 17.5)) * np.ones(len(time))
    magnitude = mean + np.where(band == 0, rng.uniform(0.2, 1), 0)
    draw = rng.random()
    if odd and kind != "useless":
        magnitude = magnitude + change(rng, kind, time, band, options.amplitude)
    elif draw < 0.1:
        magnitude = magnitude + rng.uniform(0.05, 0.3) * walk(rng, time) * np.where(band == 0, 1.2, 1)
    noise = error * rng.normal(size=len(time))
    if draw > 0.95:
        noise[rng.random(len(time)) < 0.03] *= 15
    return time, magnitude + noise, error * rng.lognormal(0, np.log(1.15)), band


def described(truth, kind, options):
    """``(n, D)`` numbers of light curves as in the program; NaN for objects without one."""
    rng = np.random.default_rng(11)
    found = np.full((len(truth), len(curve_names(["g", "r"]))), np.nan)
    for k, odd in enumerate(truth):
        curve = simulate(rng, odd, kind, options)
        if kind == "half" and rng.random() < 0.5:
            continue
        found[k] = curve_numbers(*curve, 2, is_magnitude=True)
    return found


def blocks_of(truth, options):
    found = {}
    names = curve_names(["g", "r"])
    for kind in options.kinds:
        begun = time.process_time()
        found[kind] = described(truth, kind, options)
        print(f"{kind}: {1e3 * (time.process_time() - begun) / len(truth):.1f} ms of CPU for each object", flush=True)
        if kind in ("transient", "periodic"):
            period = np.array([name.startswith("period") for name in names])
            found[f"{kind}: without period"] = found[kind][:, ~period]
            found[f"{kind}: period only"] = found[kind][:, period]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--column", default="label", help="column of the truth")
    parser.add_argument("--anomaly", required=True, help="classes that are anomalies, with commas")
    parser.add_argument("--rate", type=float, default=0.05, help="share of anomalies; the others are left out")
    parser.add_argument("--labels", nargs="*", default=["3,10", "10,30", "30,50"])
    parser.add_argument("--kinds", nargs="*", default=["transient", "periodic", "eclipses", "useless", "half"])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--points", type=float, default=60.0, help="measurements in each band")
    parser.add_argument("--amplitude", type=float, default=0.3, help="of periodic variables, mag")
    parser.add_argument("--scatter", type=float, nargs="*", default=[0.02, 0.08])
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    cache = Cache.open(options.cache)
    ids, truth = rarer(*known_objects(cache, options), options.rate)
    beside_image(cache, ids, truth, options, lambda: blocks_of(truth, options))


if __name__ == "__main__":
    main()
