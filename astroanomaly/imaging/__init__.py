"""From pixel values to pictures: bands, intervals, stretches, sampling."""
