"""The commands of operators: ``neverstale check`` and ``neverstale status``."""
