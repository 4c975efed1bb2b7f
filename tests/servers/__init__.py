"""Local archives that speak the protocols of the real ones, and misbehave on command."""
