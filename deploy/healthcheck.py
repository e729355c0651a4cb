"""``python healthcheck.py [PATH]``: the container's health, for its engine.

Ask the gateway or listener of this container for PATH (``healthz`` unless given) at ``PORT`` or
``HEALTH_PORT``. Exits 0 if it answers 200, else 1.
"""

import os
import sys
import urllib.error
import urllib.request

ANSWER_SECONDS = 2.0
PORTS = {"PORT": "8080", "HEALTH_PORT": "8081"}  # with the defaults of gateway and listener


def is_healthy(port: str, path: str) -> bool:
    # a container may have a proxy in its environment, which does not know its loopback
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/{path}", timeout=ANSWER_SECONDS):
            return True
    except OSError:  # urllib's errors are among them: nothing listens, or an answer such as 503
        return False


def main() -> int:
    path = sys.argv[1] if len(sys.argv) > 1 else "healthz"
    ports = [os.environ.get(name) or default for name, default in PORTS.items()]
    return 0 if any(is_healthy(port, path) for port in ports) else 1


if __name__ == "__main__":
    sys.exit(main())
