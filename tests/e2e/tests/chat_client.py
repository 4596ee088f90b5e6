"""Enters the chat by Debian's websockets: says its words, and prints what it hears, a line each, until it is closed."""

import asyncio
import sys

import websockets


async def main(port, *words):
    async with websockets.connect(f"ws://127.0.0.1:{port}/chat") as socket:
        for word in words:
            await socket.send(word)
        async for heard in socket:
            print(heard, flush=True)
    print(socket.close_code, socket.close_reason)


asyncio.run(main(*sys.argv[1:]))
