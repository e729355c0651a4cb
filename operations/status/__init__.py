"""``neverstale status``: the state of all processes, in a terminal."""
