"""The actions that rows of the change log have besides INSERT, UPDATE and DELETE."""

from typing import Final

# A reset of the row's project, or of everything where it has none; the resource is the reason.
RECONNECT: Final = "RECONNECT"
# A reset of everything that the row's user may see.
RECONNECT_USER: Final = "RECONNECT_USER"
# An UPDATE of a project that took it from the row's user, who owned it until then.
LOST: Final = "LOST"
