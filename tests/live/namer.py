"""A server that answers every request at once with its name: `namer.py NAME PORT`, 0 for any; prints its port."""

from __future__ import annotations

import asyncio
import sys


class Namer(asyncio.Protocol):
    def __init__(self, name: str) -> None:
        self._answer = f"HTTP/1.1 200 OK\r\nx-server: {name}\r\ncontent-length: 2\r\n\r\nok".encode()
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        parts = (self._rest + data).split(b"\r\n\r\n")
        self._rest = parts[-1]
        self._transport.write(self._answer * (len(parts) - 1))


async def serve(name: str, port: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Namer(name), "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
