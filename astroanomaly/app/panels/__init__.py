"""Parts of the page: each has the sources of its figures, a root, and an update."""
