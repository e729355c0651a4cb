"""``python -m neverstale``: the ``neverstale`` command."""

import sys

from neverstale.cli import main

if __name__ == "__main__":
    sys.exit(main())
