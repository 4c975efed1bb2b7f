"""The numbers beside the image of each object: columns, features from elsewhere, spectra, light curves."""
