"""A tiny real HTTP server for live tests, in a process of its own: `python tests/live/origin.py NAME JOURNAL PORT`.

It prints its port, then answers every request with its name, and writes `METHOD PATH ID` to JOURNAL before it does,
so that what was executed is known after a kill. Paths: /sleep/SECONDS, /status/CODE, /close (reads the request, then
closes without an answer), /headers (answers those it got), /health (answers what the file JOURNAL.health says, else
200; not written down).
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path


async def serve(name: str, journal: int, health: Path, reader: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            fields = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:])}
            await reader.readexactly(int(fields.get("content-length", "0")))
            status, body = 200, name
            if path == "/health":
                status = health_of(health)
            else:
                os.write(journal, f"{method} {path} {fields.get('x-id', '-')}\n".encode())
            if path == "/close":
                return
            if path.startswith("/sleep/"):
                await asyncio.sleep(float(path.removeprefix("/sleep/")))
            if path.startswith("/status/"):
                status = int(path.removeprefix("/status/"))
            if path == "/headers":
                body = "\n".join(head[1:])
            text = b"" if method == "HEAD" else body.encode()
            out.write(b"HTTP/1.1 %d Fine\r\ncontent-length: %d\r\n\r\n" % (status, len(text)) + text)
            await out.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        out.close()


def health_of(file: Path) -> int:
    return int(file.read_text()) if file.exists() else 200


async def main() -> None:
    name, path, port = sys.argv[1:]
    journal = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    health = Path(path + ".health")
    server = await asyncio.start_server(
        lambda reader, writer: serve(name, journal, health, reader, writer), "127.0.0.1", int(port), backlog=512
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
