"""``neverstale check``: what is wrong with a set-up, from wherever it runs."""
