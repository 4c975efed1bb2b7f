"""A survey scored straight through: what is kept of it, and how the best are found without scoring all of it."""
