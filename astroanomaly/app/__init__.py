"""The labelling app: what a page knows, work in the background, the page itself, and the server."""
