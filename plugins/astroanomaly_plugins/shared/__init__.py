"""What the sources of several archives share."""
