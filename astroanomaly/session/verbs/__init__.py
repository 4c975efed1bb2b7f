"""What a session can do, by kind of work; `astroanomaly.session.session` puts them together."""
