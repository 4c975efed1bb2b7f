"""FITS mosaics: files, tiles, bands, and cutting from them."""
