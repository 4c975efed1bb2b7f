"""Cutouts from HiPS image surveys."""
