"""HDF5 files from elsewhere: checked before anything of them is read."""
