"""A sentinel that watches a primary."""

from pathlib import Path

from deploy.dev.servers import ValkeyServer


class Sentinel(ValkeyServer):
    """Knows its primary as ``main``. By default it decides alone on a failover."""

    def __init__(self, folder: Path, primary: ValkeyServer, *, quorum: int = 1) -> None:
        super().__init__(folder)
        self._primary = primary
        self._quorum = quorum

    def _prepare(self) -> list[str]:
        program, *_ = super()._prepare()
        config = self.folder / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\n"
            f"sentinel monitor main 127.0.0.1 {self._primary.port} {self._quorum}\n"
            "sentinel down-after-milliseconds main 500\n"
            "sentinel failover-timeout main 2000\n"
        )
        return [program, str(config), "--sentinel"]
