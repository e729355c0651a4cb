"""The version of this program."""

from neverstale import __version__

VERSION = __version__
