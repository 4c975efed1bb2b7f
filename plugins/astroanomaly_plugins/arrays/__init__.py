"""Stacks of images as arrays: NumPy, HDF5, Zarr, MEDS."""
