"""Headless Chromium over its DevTools protocol: open a page, wait for a condition, take a screenshot."""

from __future__ import annotations

import asyncio
import base64
import itertools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
FLAGS = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--remote-debugging-port=0',
    '--window-size=1400,900',
]
TIMEOUT_S = 90.0


async def look_at(address: str, condition: str, picture: Path, profile: Path) -> str:
    """Return the text of the page once the JavaScript `condition` is true; write a screenshot to `picture`."""
    assert CHROMIUM is not None
    process = subprocess.Popen(
        [CHROMIUM, *FLAGS, f'--user-data-dir={profile}', address], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        return await asyncio.wait_for(_look(process, condition, picture), TIMEOUT_S)
    finally:
        process.terminate()
        process.communicate()


async def _look(process: subprocess.Popen[bytes], condition: str, picture: Path) -> str:
    assert process.stderr is not None
    port = await asyncio.get_running_loop().run_in_executor(None, _port, process.stderr)
    async with aiohttp.ClientSession() as session:
        async with session.get(f'http://127.0.0.1:{port}/json') as answer:
            pages = [t for t in await answer.json(content_type=None) if t['type'] == 'page']
        async with session.ws_connect(pages[0]['webSocketDebuggerUrl'], max_msg_size=0) as socket:
            numbers = itertools.count(1)

            async def call(method: str, **params: Any) -> dict[str, Any]:
                number = next(numbers)
                await socket.send_json({'id': number, 'method': method, 'params': params})
                while (message := await socket.receive_json()).get('id') != number:
                    pass
                return dict(message['result'])

            async def evaluate(code: str) -> Any:
                return (await call('Runtime.evaluate', expression=code, returnByValue=True))['result'].get('value')

            while not await evaluate(condition):
                await asyncio.sleep(0.1)
            shot = await call('Page.captureScreenshot')
            picture.write_bytes(base64.b64decode(shot['data']))
            return str(await evaluate('document.body.innerText'))


def _port(stderr: Any) -> int:
    """Read the port that Chromium announces on stderr."""
    for line in stderr:
        if b'DevTools listening on' in line:
            return int(line.split(b'://')[1].split(b'/')[0].rpartition(b':')[2])
    raise AssertionError('chromium ended before it listened')
