"""The cards of a header that describe its WCS, and the lookup tables they refer to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.errors import UnreadableError

if TYPE_CHECKING:
    from astropy.io.fits import HDUList

__all__ = ["BLOCK_BYTES", "check_wcs_cards", "copy_table", "header_block", "table_names", "wcs_cards"]

# Every keyword that WCSLIB or astropy.wcs reads for the primary description of an image: the FITS WCS papers, SIP,
# lookup-table distortions (CPDIS, D2IM and the older AXISCORR), IRAF's WAT and the plate solutions of the DSS.
_WCS_KEYWORD = re.compile(
    r"WCSAXES|WCSNAME|CTYPE\d+|CRPIX\d+|CRVAL\d+|CDELT\d+|CUNIT\d+|CROTA\d+|CRDER\d+|CSYER\d+|CNAME\d+|"
    r"(PC|CD)\d+_\d+|(PC|CD)\d{6}|P[VS]\d+_\d+|PROJP\d+|LONPOLE|LATPOLE|RADE(CS|SY)YS|RADESYS|RADECSYS|EQUINOX|EPOCH|"
    r"DATE-?[A-Z]*|DATEREF|MJD-?[A-Z]*|JDREF[IF]?|TIMESYS|TREFPOS|TREFDIR|TIMEUNIT|TIMEOFFS|OBSGEO-[A-Z]|SPECSYS|"
    r"VELREF|REST(FRQ|FREQ|WAV)|[AB]P?_\d+_\d+|[AB]P?_ORDER|[AB]_DMAX|"
    r"C[PQ](DIS|ERR)\d+|D[PQ]\d+(\..*)?|D2IM(DIS|ERR)?\d+(\..*)?|AXISCORR|D2IMEXT|NPOLEXT|DVERR|"
    r"WAT\d_\d+|AMD[XY]\d+|PPO\d+|PLTRA[HMS]|PLTDEC(SN|D|M|S)|PLTSCALE|CNPIX\d|[XY]PIXELSZ|OBJCTX|OBJCTY"
)
# Those of them that an alternate description has too, with a letter behind (CTYPE1A)
_ALTERNATE_KEYWORD = (
    r"(WCSAXES|WCSNAME|(?:CTYPE|CRPIX|CRVAL|CDELT|CUNIT)\d|(?:PC|CD)\d_\d|P[VS]\d_\d+|LONPOLE|LATPOLE|RADESYS|EQUINOX)"
)
# Those whose values are numbers. WCSLIB passes over a value that is none, and takes the default for it.
_NUMERIC_KEYWORD = re.compile(
    r"CRPIX\d+|CRVAL\d+|CDELT\d+|CROTA\d+|(PC|CD)\d+_\d+|(PC|CD)\d{6}|PV\d+_\d+|PROJP\d+|LONPOLE|LATPOLE|EQUINOX|EPOCH|"
    r"[AB]P?_\d+_\d+|[AB]P?_ORDER"
)
_QUOTED_NUMBER = re.compile(r"[JB]?([+-]?(?:\d+\.?\d*|\.\d+)(?:[EDed][+-]?\d+)?)")
_ON_THE_SKY = re.compile(r"(RA--|DEC-|[GES]L(ON|AT))", re.IGNORECASE)
BLOCK_BYTES = 2880  # of FITS


def wcs_cards(header: Any) -> str:
    """Return the cards of the WCS of an image in one text: of the primary description, else of one on the sky."""
    from astropy.io import fits

    cards = [(str(card.keyword).upper(), card) for card in header.cards if card.keyword]
    types = {key: str(card.value) for key, card in cards if re.fullmatch(r"CTYPE\d[A-Z]?", key)}
    if not any(len(key) == 6 and _ON_THE_SKY.match(value) for key, value in types.items()):
        for letter in sorted({key[-1] for key, value in types.items() if len(key) == 7 and _ON_THE_SKY.match(value)}):
            found = [(re.fullmatch(_ALTERNATE_KEYWORD + letter, key), card) for key, card in cards]
            return "".join(fits.Card(match[1], card.value).image for match, card in found if match)
    return "".join(_mended(card.image) for key, card in cards if _WCS_KEYWORD.fullmatch(key))


def _mended(image: str) -> str:
    """Put the blank behind the equals sign that the standard asks for: ``CDELT1  =-0.1`` is no value to WCSLIB.

    Nor is a number in quotes, as in ``CRPIX1  = '150.5'`` or ``EQUINOX = 'J2000'``: the quotes are taken away. Of
    ``-5.5D-05``, which the standard allows, WCSLIB takes the -5.5: the exponent is written with an E.
    """
    if image[8:9] == "=" and image[9:10] not in ("", " "):
        image = f"{image[:9]} {image[9:79]}"
    if not _NUMERIC_KEYWORD.fullmatch(image[:8].strip().upper()):
        return image
    double = re.match(r"(.{8}= *[+-]?[0-9.]+)[Dd]([+-]?\d+ *(/.*)?)$", image)
    if double:
        return f"{double[1]}E{double[2]}"
    quoted = re.match(r"(.{8}= +)'([^']*)' *(/.*)?$", image.rstrip())
    if quoted:
        number = _QUOTED_NUMBER.fullmatch(quoted[2].strip())
        if number and (number[0][0] not in "JB" or image.upper().startswith(("EQUINOX", "EPOCH"))):
            return f"{image[:8]}= {number[1].upper().replace('D', 'E'):>20}".ljust(80)
    return image


def check_wcs_cards(cards: str) -> None:
    """Look for what WCSLIB would pass over, so that it would put the image elsewhere.

    Parameters
    ----------
    cards
        As `wcs_cards` gives them.

    Raises
    ------
    UnreadableError
        If a card whose value is a number has none, or is there twice with different values; if CD and PC contradict
        one another; or if nothing says how large the pixels are.
    """
    from astropy.io import fits
    from astropy.io.fits.card import Undefined

    values: dict[str, Any] = {}
    for start in range(0, len(cards), 80):
        card = fits.Card.fromstring(cards[start : start + 80])
        key = str(card.keyword).upper()
        earlier = values.get(key)
        try:
            values[key] = card.value
        except (fits.VerifyError, ValueError):
            values[key] = card.image[10:]
        stated = values[key]
        is_number = isinstance(stated, int | float) and not isinstance(stated, bool)
        given = str(stated).strip("' ") and not isinstance(stated, Undefined)
        if given and not is_number and key != "EPOCH" and _NUMERIC_KEYWORD.fullmatch(key):
            text = str(stated).strip("' ")
            raise UnreadableError(f"{key} = {text!r} in its header is no number: correct this card of its WCS")
        if earlier is not None and earlier != stated and (key.startswith("CTYPE") or _NUMERIC_KEYWORD.fullmatch(key)):
            raise UnreadableError(
                f"{key} is in its header twice, as {earlier!r} and as {stated!r}: take out the wrong one"
            )
    if "PLTRAH" in values:
        return
    _refuse_two_matrices(values)
    for axis in re.findall(r"CTYPE(\d)\b", " ".join(key for key in values if _ON_THE_SKY.match(str(values[key])))):
        table = str(values[f"CTYPE{axis}"])[4:].upper().startswith("-TAB")
        scales = re.compile(rf"CDELT{axis}|(PC|CD)({axis}_\d+|00{axis}\d{{3}})")
        if not table and not any(scales.fullmatch(key) for key in values):
            raise UnreadableError(
                f"its WCS does not say how large the pixels are: it has neither CDELT{axis} nor CD{axis}_{axis}. Add "
                "them to its header, or take CTYPE away if it has no WCS"
            )


def _refuse_two_matrices(values: Mapping[str, Any]) -> None:
    """Refuse CD beside another PC, which the standard forbids: WCSLIB takes PC with CDELT, which is 1 beside a CD."""
    axes = {int(key[2]) for key in values if re.fullmatch(r"(CD|PC)\d_\d", key)}
    has = {kind: any(re.fullmatch(rf"{kind}\d_\d", key) for key in values) for kind in ("CD", "PC")}
    if not all(has.values()):
        return
    pairs = {
        (i, j): (
            float(values.get(f"CD{i}_{j}", 0.0)),
            float(values.get(f"PC{i}_{j}", float(i == j))) * float(values.get(f"CDELT{i}", 1.0)),
        )
        for i in axes
        for j in axes
    }
    largest = max(abs(number) for pair in pairs.values() for number in pair)
    for (i, j), (of_cd, of_pc) in pairs.items():
        if abs(of_cd - of_pc) > 1e-5 * largest:
            raise UnreadableError(
                f"its header has CD{i}_{j} = {of_cd:g}, but PC{i}_{j} times CDELT{i} is {of_pc:g}: they contradict one "
                "another. Take out the wrong ones"
            )


def header_block(cards: str) -> bytes:
    """Make the primary header of a file without pixels out of 80-character cards."""
    start = "".join(
        card.ljust(80)
        for card in (
            "SIMPLE  =                    T",
            "BITPIX  =                    8",
            "NAXIS   =                    0",
            "EXTEND  =                    T",
        )
    )
    text = start + cards + "END".ljust(80)
    return text.encode("ascii", "replace").ljust(-(-len(text) // BLOCK_BYTES) * BLOCK_BYTES)


def table_names(header: Any) -> list[tuple[str, int]]:
    """List ``(EXTNAME, EXTVER)`` of every extension that a WCS header refers to."""
    names: list[tuple[str, int]] = []
    for axis in (1, 2):
        for kind, prefix, extension in (("CPDIS", "DP", "WCSDVARR"), ("D2IMDIS", "D2IM", "D2IMARR")):
            if str(header.get(f"{kind}{axis}", "")).lower() == "lookup":
                names.append((extension, int(header.get(f"{prefix}{axis}.EXTVER", 1))))
    if "AXISCORR" in header:
        names.append(("D2IMARR", 1))
    for key in header:
        match = re.fullmatch(r"CTYPE(\d+)", key)
        if match and str(header[key])[4:].upper().startswith("-TAB"):
            axis_number = match.group(1)
            names.append((str(header.get(f"PS{axis_number}_0", "")), int(header.get(f"PV{axis_number}_1", 1))))
    return list(dict.fromkeys(names))


def copy_table(hdulist: HDUList | None, name: str, version: int) -> Any:
    """Copy an extension that a WCS refers to.

    Raises
    ------
    UnreadableError
        If it is not in the file.
    """
    from astropy.io import fits

    try:
        if hdulist is None:
            raise KeyError(name)
        found = hdulist[name, version]
    except (KeyError, IndexError):
        raise UnreadableError(
            f"the WCS refers to the lookup table {name!r} (version {version}), which is not in the file: "
            "use the complete file"
        ) from None
    if isinstance(found, fits.BinTableHDU):
        return fits.BinTableHDU(found.data.copy(), found.header.copy(), name=name, ver=version)
    return fits.ImageHDU(np.array(found.data), found.header.copy(), name=name, ver=version)
