"""Sits at the chat's page in a Chromium, by its debugging port: enters words, and prints the lines that the page shows."""

import asyncio
import json
import pathlib
import sys
import urllib.request

import websockets


async def soon(get):
    for _ in range(1000):
        try:
            if got := get():
                return got
        except OSError:
            pass
        await asyncio.sleep(0.02)
    sys.exit("the browser does not come")


async def main(profile, *words):
    port = await soon(lambda: pathlib.Path(profile, "DevToolsActivePort").read_text().partition("\n")[0])
    targets = f"http://127.0.0.1:{port}/json/list"
    page = await soon(lambda: [at for at in json.load(urllib.request.urlopen(targets)) if at["type"] == "page"])
    async with websockets.connect(page[0]["webSocketDebuggerUrl"], max_size=None) as browser:

        async def evaluate(expression):
            command = {"id": 1, "method": "Runtime.evaluate", "params": {"expression": expression, "returnByValue": True}}
            await browser.send(json.dumps(command))
            while (answer := json.loads(await browser.recv())).get("id") != 1:
                pass
            return answer["result"]["result"].get("value")

        async def until(expression):
            while not await evaluate(expression):
                await asyncio.sleep(0.02)

        # A page of the browser's own may come first.
        await until("document.readyState === 'complete' && typeof at === 'function'")
        for word in words:
            await evaluate(f"at('input').value = {json.dumps(word)}; at('form').requestSubmit()")
            await until("socket?.readyState === WebSocket.OPEN")
        shown = 0
        while True:
            lines = await evaluate("[...at('lines').children].map(line => line.innerText)")
            for line in lines[shown:]:
                print(line.strip(), flush=True)
            shown = len(lines)
            await asyncio.sleep(0.02)


asyncio.run(main(*sys.argv[1:]))
