"""One page and one WebSocket. Each browser gets the newest picture of every stream as fast as it takes them."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from seg_perception.ros.viewer import Viewer

PAGE = Path(__file__).parent.parent / 'templates' / 'view.html'
STATUS_S = 0.5
LOCAL_NAMES = ('localhost', '127.0.0.1', '::1')
POLICY = "default-src 'self'; img-src 'self' blob: data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """The web application around one `Viewer`."""

    def __init__(self, node: str, host: str) -> None:
        self._local_only = host == 'localhost' or _is_loopback(host)
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._clients = 0
        self._sockets: set[web.WebSocketResponse] = set()
        self.viewer = Viewer(node, self._wake)
        self.app = web.Application(middlewares=[self._guard])
        self.app.router.add_get('/', self._page)
        self.app.router.add_get('/stream', self._stream)
        self.app.on_shutdown.append(self._close)

    def _wake(self) -> None:
        """Tell the loop of a new picture; called from the viewer's thread."""
        self._loop.call_soon_threadsafe(self._announce)

    def _announce(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse other sites: a page of theirs must not read the cameras through the user's browser."""
        name = request.url.host or ''
        if self._local_only and name not in LOCAL_NAMES:
            raise web.HTTPForbidden(text=f'this server answers to {", ".join(LOCAL_NAMES)} only; start it with --host')
        origin = request.headers.get('Origin')
        if origin is not None and origin != str(request.url.origin()):
            raise web.HTTPForbidden(text=f'{origin} may not read from here')
        return await handler(request)

    async def _page(self, _request: web.Request) -> web.StreamResponse:
        headers = {'Content-Security-Policy': POLICY, 'Cache-Control': 'no-store'}
        return web.Response(body=PAGE.read_bytes(), content_type='text/html', charset='utf-8', headers=headers)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(heartbeat=10.0)
        await socket.prepare(request)
        self._sockets.add(socket)
        self._clients += 1
        self.viewer.look()
        sender = asyncio.gather(self._send_status(socket), self._send_pictures(socket))
        try:
            async for message in socket:
                if message.type is WSMsgType.ERROR:
                    break
        finally:
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await sender
            self._sockets.discard(socket)
            self._clients -= 1
            if not self._clients:
                self.viewer.look_away()
        return socket

    async def _send_status(self, socket: web.WebSocketResponse) -> None:
        while not socket.closed:
            await socket.send_json(self.viewer.status())
            await asyncio.sleep(STATUS_S)

    async def _send_pictures(self, socket: web.WebSocketResponse) -> None:
        """Send a picture as: length of the name (1 byte), name, JPEG. A slow browser skips pictures."""
        sent: dict[str, int] = {}
        while not socket.closed:
            news = self._news
            for name, picture in self.viewer.pictures().items():
                if sent.get(name) != picture.number:
                    sent[name] = picture.number
                    label = name.encode()
                    await socket.send_bytes(bytes([len(label)]) + label + picture.jpeg)
            await news.wait()

    async def _close(self, _app: web.Application) -> None:
        for socket in list(self._sockets):
            await socket.close()
        await asyncio.get_running_loop().run_in_executor(None, self.viewer.close)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def serve(node: str, host: str, port: int, ready: Callable[[str], Any]) -> None:
    """Serve until cancelled.

    Args:
        port: 0 for any free one.
        ready: called with the address once connections are accepted.

    Raises:
        OSError: the address is in use or not of this machine.
    """
    server = Server(node, host)
    runner = web.AppRunner(server.app, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        bound = runner.addresses[0]
        ready(f'http://{f"[{bound[0]}]" if ":" in bound[0] else bound[0]}:{bound[1]}/')
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
