"""`seg_perception view`: the running node in a browser."""

from __future__ import annotations

import asyncio
import contextlib
import signal

import click

from seg_perception.errors import ConfigError

EPILOG = """\b
Examples:
  seg_perception view                         (then open http://127.0.0.1:8080/)
  seg_perception view --open
  ssh -L 8080:localhost:8080 vehicle          (from your desk; in it: seg_perception view)
  seg_perception view --host 0.0.0.0          (everybody on the network sees the cameras)
"""


@click.command('view', epilog=EPILOG)
@click.option('--node', default='seg_perception', show_default=True, help='Name of the node, or its full name.')
@click.option('--host', default='127.0.0.1', show_default=True, help='Address to listen on.')
@click.option(
    '--port', default=8080, show_default=True, type=click.IntRange(0, 65535), help='Port; 0 for any free one.'
)
@click.option('--open', 'open_browser', is_flag=True, help='Open the page in the browser of this machine.')
def command(node: str, host: str, port: int, open_browser: bool) -> None:
    """Show the node's outputs in a browser: overlays, grid, rates, ages, status.

    Subscribes only while a page is open, so that it costs nothing otherwise. Ctrl-C ends it.
    """
    try:
        from seg_perception.ros.view_server import serve
    except ImportError as error:
        raise ConfigError(
            f'{error.name} cannot be imported ({error}); source your ROS 2 setup and pip install aiohttp'
        ) from error

    def ready(address: str) -> None:
        click.echo(f'{address}   (Ctrl-C to stop)')
        if open_browser:
            click.launch(address)

    async def run() -> None:
        task = asyncio.ensure_future(serve(node, host, port, ready))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    try:
        asyncio.run(run())
    except OSError as error:
        raise ConfigError(f'cannot listen on {host} port {port}: {error.strerror}; try another --port') from error
