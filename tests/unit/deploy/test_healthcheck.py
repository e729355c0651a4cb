"""The container's health check asks whichever of our programs runs there."""

import http.server
import threading
from collections.abc import Iterator

import pytest

from deploy import healthcheck


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def port() -> Iterator[str]:
    """The port of a server that is alive, but not ready."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield str(server.server_address[1])
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("setting", ["PORT", "HEALTH_PORT"])
@pytest.mark.parametrize(
    ("words", "code"), [([], 0), (["readyz"], 1)], ids=["alive", "unready"]
)
def test_either_port_answers(
    monkeypatch: pytest.MonkeyPatch, port: str, setting: str, words: list[str], code: int
) -> None:
    for name in healthcheck.PORTS:
        monkeypatch.setenv(name, port if name == setting else "1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setattr("sys.argv", ["healthcheck.py", *words])
    assert healthcheck.main() == code


def test_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in healthcheck.PORTS:
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr("sys.argv", ["healthcheck.py"])
    assert healthcheck.main() == 1
