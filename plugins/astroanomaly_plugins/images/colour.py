"""Bring colours that an ICC profile describes to sRGB, which screens and networks expect."""

from __future__ import annotations

import functools
import io
from typing import Any

from PIL import Image, ImageCms

__all__ = ["to_srgb"]

_MODES = {"RGB ": ("RGB", "RGBA"), "CMYK": ("CMYK",)}  # by colour space of the profile
_MAX_PROFILE_BYTES = 4 * 2**20  # those of CMYK printers are of about 1 MB
_PROFILES_KEPT = 16


def to_srgb(image: Image.Image) -> Image.Image:
    """Return a picture with its colours in sRGB; one without a usable profile, in sRGB, or grey, as it is.

    A profile that is damaged, or that does not fit the picture, is ignored, as browsers do.
    """
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or len(profile) > _MAX_PROFILE_BYTES:
        return image
    transform = _transform(profile, image.mode)
    if transform is None:
        return image
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    colours = transform.apply(image.convert("RGB") if alpha is not None else image)
    if alpha is not None:
        colours.putalpha(alpha)
    colours.info = {name: value for name, value in image.info.items() if name != "icc_profile"}
    return colours


@functools.lru_cache(maxsize=_PROFILES_KEPT)
def _transform(profile: bytes, mode: str) -> Any:
    """Return the transform from a profile to sRGB; None where there is nothing to do."""
    try:
        known = ImageCms.getOpenProfile(io.BytesIO(profile))
        space = known.profile.xcolor_space
        name = ImageCms.getProfileDescription(known)
        if mode not in _MODES.get(space, ()) or "sRGB" in name:
            return None
        stored = "CMYK" if space == "CMYK" else "RGB"
        return ImageCms.buildTransform(known, ImageCms.createProfile("sRGB"), stored, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        return None
