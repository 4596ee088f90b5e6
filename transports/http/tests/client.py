"""Talks to the echo of tests/websocket.rs by Debian's websockets; says what it has seen, a line each."""

import asyncio
import sys

import websockets


async def main(port):
    url = f"ws://127.0.0.1:{port}/echo"
    async with websockets.connect(url, subprotocols=["new", "old"], compression=None) as socket:
        assert socket.subprotocol == "old", socket.subprotocol
        for message in ["hello", "grüße", b"\x00\xff", "", b"", "x" * 900_000, b"y" * 1_000_000]:
            await socket.send(message)
            assert await socket.recv() == message
        await socket.send(["in ", "three ", "pieces"])
        assert await socket.recv() == "in three pieces"
        await asyncio.wait_for(await socket.ping(), 20)
        print("echoed")
    assert socket.close_code == 1000, socket.close_code
    async with websockets.connect(url) as socket:
        await socket.send("z" * 2_000_000)
        await socket.wait_closed()
        print(socket.close_code)
    for asked, code in [("panic", 1011), ("end", 1000), ("close", 4321)]:
        async with websockets.connect(url) as socket:
            await socket.send(asked)
            await socket.wait_closed()
            assert socket.close_code == code, (asked, socket.close_code)
    try:
        await websockets.connect(url, origin="https://elsewhere.example")
    except websockets.exceptions.InvalidStatusCode as error:
        print(error.status_code)
    async with websockets.connect(url) as socket:
        print("stop", flush=True)
        await socket.wait_closed()
        print(socket.close_code)


asyncio.run(main(int(sys.argv[1])))
