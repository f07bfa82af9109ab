"""The demo with a person's own recording."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import cv2
import numpy as np

from seg_perception.io import messages
from seg_perception.io.bag_writer import BagWriter

START_NS = 1_700_000_000_000_000_000


def demo(*arguments):
    command = [sys.executable, '-m', 'seg_perception', 'demo', *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ, check=False)


def test_a_bag_of_two_cameras_with_compressed_images(tmp_path):
    jpeg = cv2.imencode('.jpg', np.full((120, 160, 3), 110, np.uint8))[1].reshape(-1)
    with BagWriter(tmp_path / 'drive') as bag:
        for i in range(4):
            for topic in ('/left/image_raw/compressed', '/right/image_raw/compressed'):
                bag.write(messages.compressed_image(topic, START_NS + i * 400_000_000, 'optical', jpeg, 'jpeg'))
    refused = demo(tmp_path / 'drive', '--out', tmp_path / 'out')
    assert refused.returncode == 1
    assert 'several image topics' in refused.stderr
    assert not (tmp_path / 'out').exists()
    done = demo(tmp_path / 'drive', '--topic', '/left/image_raw/compressed', '--out', tmp_path / 'out')
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / 'out' / 'summary.json').read_text())['processed'] >= 1
    assert (tmp_path / 'out' / 'demo.mp4').stat().st_size > 0


def test_a_recording_without_a_readable_frame_is_one_line(tmp_path):
    (tmp_path / 'frames').mkdir()
    (tmp_path / 'frames' / 'a.jpg').write_text('no picture')
    done = demo(tmp_path / 'frames', '--out', tmp_path / 'out')
    assert done.returncode == 1
    assert done.stderr.startswith(f'seg_perception: error: {tmp_path}/frames: no frame could be read: ')
    assert done.stderr.count('\n') == 1
