"""Simulated spectra, and files of them as SDSS and DESI write them."""

import numpy as np
from astropy.io import fits

SDSS_LOG_WAVELENGTHS = np.arange(3.58, 3.96, 1e-4)
LINES = {3728.5: 8.0, 4862.7: 4.0, 4960.3: 2.0, 5008.2: 6.0, 6564.6: 12.0}  # vacuum Angstrom: flux in Angstrom
SDSS_UNIT = "1E-17 erg/cm^2/s/Ang"


def simulated(wavelength, rng, *, redshift=0.1, lines=1.0, rare=0.0, slope=None, noise=0.1):
    """Flux and inverse variance of a galaxy with emission lines; ``rare``: flux of He II 4686, in Angstrom."""
    slope = rng.uniform(-1.5, 1.5) if slope is None else slope
    flux = (wavelength / 6000) ** slope
    for place, strength in (LINES | {4687.0: 0.0}).items():
        middle, width = place * (1 + redshift), 3.0 * (1 + redshift)
        strength = rare if place == 4687.0 else lines * strength
        flux = flux + strength / (width * (2 * np.pi) ** 0.5) * np.exp(-0.5 * ((wavelength - middle) / width) ** 2)
    return flux + noise * rng.normal(size=len(wavelength)), np.full(len(wavelength), noise**-2.0)


def write_sdss(path, log_wavelength, flux, weight, *, ra=None, dec=None, redshift=0.1):
    """Write one spectrum as a spec-*.fits of SDSS; `and_mask` has a note on every pixel, as it often does."""
    primary = fits.PrimaryHDU()
    primary.header.update(
        {
            "TELESCOP": "SDSS 2.5-M",
            "VERS2D": "v5_13_0",
            "FIBERID": 7,
            "BUNIT": SDSS_UNIT,
        }
    )
    if ra is not None:
        primary.header.update({"PLUG_RA": ra, "PLUG_DEC": dec})
    columns = [
        fits.Column("flux", "E", array=flux),
        fits.Column("loglam", "E", array=log_wavelength),
        fits.Column("ivar", "E", array=weight),
        fits.Column("and_mask", "J", array=np.full(len(flux), 1 << 23)),
    ]
    coadd = fits.BinTableHDU.from_columns(columns, name="COADD")
    about = fits.BinTableHDU.from_columns([fits.Column("Z", "E", array=[redshift])], name="SPECOBJ")
    again = fits.BinTableHDU.from_columns(columns, name="B1-00112233")  # one exposure
    fits.HDUList([primary, coadd, about, again]).writeto(path)


def desi_arms():
    """Wavelengths of the three arms of DESI, which overlap."""
    return {"B": np.arange(3600, 5800.1, 0.8), "R": np.arange(5760, 7620.1, 0.8), "Z": np.arange(7520, 9824.1, 0.8)}


def write_desi(path, ids, ra, dec, fluxes, weights):
    """Write spectra as a coadd-*.fits of DESI: fluxes and weights ``(n, P)`` by arm."""
    primary = fits.PrimaryHDU()
    primary.header["INFIL000"] = "frame.fits"
    targets = fits.BinTableHDU.from_columns(
        [
            fits.Column("TARGETID", "K", array=ids),
            fits.Column("TARGET_RA", "D", array=ra),
            fits.Column("TARGET_DEC", "D", array=dec),
        ],
        name="FIBERMAP",
    )
    hdus = [primary, targets]
    for arm, wavelength in desi_arms().items():
        for what, data, unit in (
            ("WAVELENGTH", wavelength, "Angstrom"),
            ("FLUX", np.float32(fluxes[arm]), "10**-17 erg/(s cm2 Angstrom)"),
            ("IVAR", np.float32(weights[arm]), "10**+34 (s2 cm4 Angstrom2) / erg2"),
            ("MASK", np.zeros(np.shape(fluxes[arm]), np.int32), ""),
        ):
            hdu = fits.ImageHDU(data, name=f"{arm}_{what}")
            if unit:
                hdu.header["BUNIT"] = unit
            hdus.append(hdu)
    hdus.append(fits.BinTableHDU.from_columns([fits.Column("X", "E", array=np.zeros(len(ids)))], name="SCORES"))
    fits.HDUList(hdus).writeto(path)
