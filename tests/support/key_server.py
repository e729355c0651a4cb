"""An HTTP server of signing keys (JWKS), and tokens signed with them."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from deploy.dev.servers import free_port
from tests.support.demo_data import ADA

OLD: Final = rsa.generate_private_key(65537, 2048)


NEW: Final = rsa.generate_private_key(65537, 2048)


def signed(key: rsa.RSAPrivateKey, kid: str | None = None) -> str:
    headers = None if kid is None else {"kid": kid}
    return jwt.encode({"sub": ADA, "exp": 4_000_000_000}, key, "RS256", headers)


def jwks(**keys: rsa.RSAPrivateKey) -> bytes:
    to_jwk = jwt.algorithms.RSAAlgorithm.to_jwk
    parts = [
        {**to_jwk(key.public_key(), as_dict=True), "kid": kid} for kid, key in keys.items()
    ]
    return json.dumps({"keys": parts}).encode()


@dataclass
class KeyServer:
    """Serves a JWKS document with a chosen status."""

    document: bytes
    status: int = 200
    asked: int = 0
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/jwks"

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        headers = {"Location": f"http://127.0.0.1:{self.port}/jwks?again"}
        return web.Response(body=self.document, status=self.status, headers=headers)


@pytest.fixture
async def key_server() -> AsyncIterator[KeyServer]:
    server = KeyServer(jwks(old=OLD))
    app = web.Application()
    app.add_routes([web.get("/jwks", server.answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", server.port).start()
    yield server
    await runner.cleanup()
