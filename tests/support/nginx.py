"""nginx in front of a gateway."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.dev.servers import free_port


@contextmanager
def running_nginx(folder: Path, target: str, *variants: str) -> Iterator[list[str]]:
    """Yield a URL for each of the variants: directives for how it passes requests on."""
    program = shutil.which("nginx")
    if program is None:
        pytest.skip("nginx is not installed")
    ports = [free_port() for _ in variants]
    servers = "\n".join(
        f"server {{ listen 127.0.0.1:{port}; {more} location / {{ proxy_pass {target}; }} }}"
        for port, more in zip(ports, variants, strict=True)
    )
    config = folder / "nginx.conf"
    temporary = " ".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"master_process off; pid {folder}/nginx.pid; error_log {folder}/errors;\n"
        f"events {{}}\nhttp {{ access_log off; {temporary}\n{servers}\n}}\n"
    )
    command = [program, "-p", str(folder), "-e", f"{folder}/errors", "-c", str(config)]
    subprocess.run(command, check=True)  # it returns once the process in the background listens
    try:
        yield [f"http://127.0.0.1:{port}" for port in ports]
    finally:
        subprocess.run([*command, "-s", "stop"], check=True)
