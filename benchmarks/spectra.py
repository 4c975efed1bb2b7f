"""Measure what spectra beside the image bring: ``python benchmarks/spectra.py CACHE --truth T --anomaly A``.

The images are real, the spectra are simulated, so that only they differ between the lines:

* a continuum, a power law with an index drawn between -1.5 and 1.5, with Ca H and K and Mg b in absorption where it is
  red and [O II], H beta, [O III], H alpha in emission where it is blue, with strengths that scatter by a factor of 2;
* redshifts between 0.02 and 0.25; 3,600 to 9,800 Angstrom; a grid as that of SDSS; white noise, ``--snr`` per pixel of
  0.0001 in the logarithm; the flux varies by a factor of 10 between objects;
* ``rare line``: anomalies have He II 4686 in emission, ``--width`` Angstrom equivalent width, in the rest frame;
* ``rare line anywhere``: one unknown line of that width, at a random wavelength in each anomaly;
* ``useless``: the spectra of anomalies and of nominal objects are drawn alike;
* ``half``: as *rare line*, but half of the objects have no spectrum.

The features are those of the program, in the rest frame but for *as observed*. Each part of them is measured, too.
AUPRC of all objects without a label, after labels drawn at random, as in ``blocks.py``.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from blocks import beside_image, known_objects, rarer

from astroanomaly.cache import Cache
from astroanomaly.learn.features.spectra import SpectrumFeatures, choose_grid, rebin, rest_frame, shifted
from astroanomaly.tables.spectra import Piece

WAVELENGTHS = 10 ** np.arange(np.log10(3600), np.log10(9800), 1e-4)
EMISSION = {3728.5: 12.0, 4862.7: 5.0, 4960.3: 4.0, 5008.2: 12.0, 6564.6: 20.0}  # vacuum Angstrom: Angstrom
ABSORPTION = {3934.8: -6.0, 3969.6: -6.0, 5176.6: -4.0}
HE_II = 4687.0
SIGMA = 3.0  # Angstrom, of a line in the rest frame


def simulate(rng, redshift, snr, extra=None):
    """Flux and weight of one spectrum; ``extra``: place and equivalent width of one line more."""
    index = rng.uniform(-1.5, 1.5)
    rest = WAVELENGTHS / (1 + redshift)
    blue = 1 / (1 + np.exp(3 * index))
    lines = {place: blue * width * rng.lognormal(0, np.log(2)) for place, width in EMISSION.items()}
    lines |= {place: (1 - blue) * width for place, width in ABSORPTION.items()}
    flux = np.ones(len(rest))
    for place, width in [*lines.items(), *([extra] if extra else [])]:
        flux += width / (SIGMA * (2 * np.pi) ** 0.5) * np.exp(-0.5 * ((rest - place) / SIGMA) ** 2)
    flux *= 10 ** rng.uniform(0, 1) * (rest / 5000) ** index
    noise = np.median(flux) / snr
    return flux + noise * rng.normal(size=len(rest)), np.full(len(rest), noise**-2)


def survey(truth, options, kind):
    """Give redshifts and ``(n, 2, bins)`` flux and error on a grid of all objects; NaN for those without spectrum."""
    rng = np.random.default_rng(11)
    grid = choose_grid([(WAVELENGTHS[0], WAVELENGTHS[-1], len(WAVELENGTHS))])
    redshifts = rng.uniform(0.02, 0.25, len(truth))
    found = np.full((len(truth), 2, grid.bins), np.nan)
    for k, odd in enumerate(truth):
        place = rng.uniform(3800, 7500) if kind == "rare line anywhere" else HE_II
        extra = (place, options.width) if odd and kind != "useless" else None
        flux, weight = simulate(rng, redshifts[k], options.snr, extra)
        if kind == "half" and rng.random() < 0.5:
            continue
        flux, weight = rebin([Piece(WAVELENGTHS, flux, weight)], grid.edges)
        found[k] = flux, np.where(weight > 0, weight, np.nan) ** -0.5
    return grid, redshifts, found


def described(grid, redshifts, spectra, *, rest):
    """``(n, D)`` numbers of spectra as in the program, and their names."""
    target = rest_frame(grid, redshifts) if rest else grid
    flux, noise = (shifted(spectra[:, k], redshifts, grid, target) if rest else spectra[:, k] for k in (0, 1))
    sample = np.random.default_rng(0).permutation(len(spectra))[:1000]
    sample = sample[np.isfinite(flux[sample]).any(axis=1)]
    learnt = SpectrumFeatures.learn(target, flux[sample], noise[sample])
    values = learnt.transform(flux, noise)
    known = np.isfinite(values).any(axis=0)
    return values[:, known], [name for name, yes in zip(learnt.names, known, strict=True) if yes]


def blocks_of(truth, options):
    found = {}
    for kind in ("rare line", "rare line anywhere", "useless", "half"):
        begun = time.monotonic()
        grid, redshifts, spectra = survey(truth, options, kind)
        read = time.monotonic()
        values, names = described(grid, redshifts, spectra, rest=True)
        took = time.monotonic() - read
        print(f"{kind}: simulated in {read - begun:.0f} s, described in {took:.0f} s", flush=True)
        found[kind] = values
        if kind == "rare line":
            for part in ("continuum", "component", "line", "strongest"):
                columns = [k for k, name in enumerate(names) if name.startswith(part)]
                found[f"{kind}: {part}"] = values[:, columns]
        if kind.startswith("rare"):
            found[f"{kind}, as observed"] = described(grid, redshifts, spectra, rest=False)[0]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--column", default="label", help="column of the truth")
    parser.add_argument("--anomaly", required=True, help="classes that are anomalies, with commas")
    parser.add_argument("--rate", type=float, default=0.05, help="share of anomalies; the others are left out")
    parser.add_argument("--labels", nargs="*", default=["3,10", "10,30", "30,50"])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--snr", type=float, default=5.0, help="of a pixel")
    parser.add_argument("--width", type=float, default=8.0, help="equivalent width of the rare line, Angstrom")
    parser.add_argument("--scatter", type=float, nargs="*", default=[0.02, 0.08])
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    cache = Cache.open(options.cache)
    ids, truth = rarer(*known_objects(cache, options), options.rate)
    beside_image(cache, ids, truth, options, lambda: blocks_of(truth, options))


if __name__ == "__main__":
    main()
