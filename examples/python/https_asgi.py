"""
An ASGI application under uvicorn, over TLS: python3 https_asgi.py SOCKET CERTIFICATE KEY

`Server` is all that uvicorn needs to receive connections; its other options are as ever.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from typing import Any, List, Optional

import uvicorn

from sni_handoff import Receiver, create_receiver


class Server(uvicorn.Server):
    """Listens on no port: its connections come by `path`."""

    receiver: Receiver

    def __init__(self, config: uvicorn.Config, path: str) -> None:
        super().__init__(config)
        self.path = path

    async def startup(self, sockets: Optional[List[socket.socket]] = None) -> None:
        await super().startup(sockets=[])
        config = self.config

        def protocol() -> Any:
            make: Any = config.http_protocol_class
            return make(config=config, server_state=self.server_state, app_state=self.lifespan.state)

        self.receiver = await create_receiver(protocol, self.path, ssl=config.ssl)
        print(f"listening on {self.receiver.path}", flush=True)

    async def shutdown(self, sockets: Optional[List[socket.socket]] = None) -> None:
        await self.receiver.drain()
        # uvicorn now closes at once whatever is not in the middle of a request. What was handed over a moment ago, and
        # has not asked anything yet, is given a moment.
        for _ in range(200):
            if all(getattr(each, "cycle", each) is not None for each in self.server_state.connections):
                break
            await asyncio.sleep(0.01)
        await super().shutdown(sockets=[])


async def application(scope: Any, receive: Any, send: Any) -> None:
    host, port = scope["client"]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": f"hello from python: {address}\n".encode()})


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: https_asgi.py SOCKET CERTIFICATE KEY")
    path, certificate, key = sys.argv[1:]
    # uvicorn drains at SIGTERM, and raises the signal again when it has ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    quiet: Any = {"lifespan": "off", "access_log": False, "log_level": "warning"}
    # uvloop asks the kernel for the client, which is a load balancer where one stands before the door.
    config = uvicorn.Config(application, ssl_certfile=certificate, ssl_keyfile=key, loop="asyncio", **quiet)
    Server(config, path).run()
