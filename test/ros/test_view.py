"""The live view as a browser gets it: the real command beside a real node."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

aiohttp = pytest.importorskip('aiohttp')
pytest.importorskip('rclpy', reason='rclpy is not installed')

HERE = Path(__file__).parent
DOMAIN = 1 + (os.getpid() + 60) % 90
ENV = {
    **os.environ,
    'ROS_DOMAIN_ID': str(DOMAIN),
    'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    'PYTHONUNBUFFERED': '1',
}
TIMEOUT_S = 90.0


def start(*command: str) -> subprocess.Popen[str]:
    """Start a Python program and return it once it has printed a line; the line is its attribute `first`."""
    process = subprocess.Popen(
        [sys.executable, *command], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    process.first = process.stdout.readline()  # type: ignore[attr-defined]
    return process


@pytest.fixture(scope='module')
def address() -> Iterator[str]:
    """The address of a view of a node that labels a drawn street."""
    mounted = 'front.extrinsics:=[0.0, 0.0, 1.5, 0.0, 0.0, 0.0]'
    view = start('-m', 'seg_perception', 'view', '--port', '0')
    parameters = [a for p in (mounted, 'diagnostics_period_s:=0.2', 'base_frame:=chassis') for a in ('-p', p)]
    node = start(str(HERE / 'fake_node.py'), '--ros-args', *parameters)
    street = start(str(HERE / 'faulty_cameras.py'), 'street')
    yield view.first.split()[0]  # type: ignore[attr-defined]
    for process in (street, node, view):
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT_S)
    assert view.returncode == 0


def run(coroutine: Any) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, TIMEOUT_S))


async def get(url: str, **headers: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, await answer.text()


async def watch(address: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the first status with diagnostics, and a picture of each of two streams."""
    pictures: dict[str, np.ndarray] = {}
    status: dict[str, Any] = {}
    async with aiohttp.ClientSession() as session, session.ws_connect(f'{address}stream', max_msg_size=0) as socket:
        while len(pictures) < 2 or len(status.get('diagnostics', [])) < 3 or len(status['streams']) < 2:
            message = await socket.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                status = message.json()
            else:
                name, data = message.data[1 : 1 + message.data[0]].decode(), message.data[1 + message.data[0] :]
                pictures[name] = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return status, pictures


def test_the_page_needs_nothing_from_elsewhere(address: str) -> None:
    code, text = run(get(address))
    assert (code, text.count('http://'), text.count('https://')) == (200, 0, 0)


def test_it_listens_on_the_loopback_address(address: str) -> None:
    assert address.startswith('http://127.0.0.1:')


def test_another_site_may_not_read_the_cameras(address: str) -> None:
    assert run(get(f'{address}stream', Origin='http://evil.example'))[0] == 403
    assert run(get(address, Host='evil.example'))[0] == 403


def test_overlay_grid_and_numbers_arrive(address: str) -> None:
    status, pictures = run(watch(address))
    assert status['node'] == '/seg_perception'
    assert set(pictures) == {'camera front', 'grid'}
    assert pictures['camera front'].std() > 10
    assert pictures['grid'].std() > 10
    assert {'engine', 'camera front', 'grid'} == {d['name'] for d in status['diagnostics']}
    assert status['streams']['camera front']['problem'] == ''


def test_the_grid_shows_the_vehicle_whatever_its_frame_is_called(address: str) -> None:
    blue, green, red = np.moveaxis(run(watch(address))[1]['grid'].astype(int), 2, 0)
    vehicle = (blue > 150) & (red < 90) & (green < 130)
    assert vehicle[-40:].sum() > 20  # the grid of the defaults begins under the vehicle
    assert not vehicle[:-80].any()


def test_a_port_in_use_is_one_line(address: str) -> None:
    port = address.rstrip('/').rpartition(':')[2]
    done = subprocess.run(
        [sys.executable, '-m', 'seg_perception', 'view', '--port', port], env=ENV, capture_output=True, text=True
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f'seg_perception: error: cannot listen on 127.0.0.1 port {port}')


def test_a_browser_shows_it(address: str, tmp_path: Path) -> None:
    sys.path.insert(0, str(HERE))
    try:
        from browser import CHROMIUM, look_at
    finally:
        sys.path.remove(str(HERE))
    if CHROMIUM is None:
        pytest.skip('chromium is not installed')
    loaded = "document.querySelectorAll('figure').length == 2 && [...document.images].every(i => i.naturalWidth) && document.body.innerText.includes(' /s')"
    picture = tmp_path / 'view.png'
    text = run(look_at(address, f"{loaded} && document.querySelectorAll('.row').length >= 3", picture, tmp_path / 'p'))
    assert 'front' in text
    assert 'drivable area' in text
    assert '/seg_perception · ' in text
    assert cv2.imread(str(picture)).std() > 10
