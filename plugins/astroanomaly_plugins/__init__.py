"""Sources that come with the package, as ordinary plugins."""
