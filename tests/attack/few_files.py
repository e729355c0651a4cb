"""``python -m tests.attack.few_files``: a gateway with the descriptor limit ``MAX_FILES``."""

import os
import resource
import runpy
import sys

if __name__ == "__main__":
    files = int(os.environ["MAX_FILES"])
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    sys.argv = ["gateway"]
    runpy.run_module("gateway", run_name="__main__", alter_sys=True)
