"""`seg_perception play` as a process: what subscribers get, the clock, loops, and how it ends."""

from __future__ import annotations

import array
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from nav_msgs.msg import Odometry
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from seg_perception.camera import CameraModel, Pose
from seg_perception.frames import from_array
from seg_perception.io import messages
from seg_perception.io.bag_writer import BagWriter

TIMEOUT_S = 30
KEEP = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
CAMERA = CameraModel(96, 64, 80.0, 80.0, 47.5, 31.5)


def stamp_ns(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def picture(i):
    return np.full((64, 96, 3), 10 * i, np.uint8)


def listen(client, topic, kind, qos):
    """Subscribe anew: the client outlives a test."""
    if topic in client.received:
        client.ignore(topic)
    return client.listen(topic, kind, qos)


@pytest.fixture
def bag(tmp_path):
    """Six frames 40 ms apart with calibration, pose and odometry, recorded in 2023."""
    start = 1_700_000_000_000_000_000
    with BagWriter(tmp_path / 'drive', latched=('/tf_static',)) as writer:
        writer.write(messages.static_transform(start, 'base_link', 'optical', Pose((1.0, 0.0, 1.5))))
        for i in range(6):
            at = start + 40_000_000 * i
            writer.write(messages.odometry(at, 'odom', 'base_link', Pose((float(i), 0.0, 0.0))))
            writer.write(messages.camera_info('/front/camera_info', at, 'optical', CAMERA))
            writer.write(messages.image('/front/image_raw', at, 'optical', from_array(picture(i), 'rgb8')))
    return tmp_path / 'drive'


@pytest.fixture
def player(client):
    """Start `play`; whatever still runs at the end is stopped."""
    running = []

    def start(*arguments):
        running.append(
            subprocess.Popen(
                [sys.executable, '-m', 'seg_perception', 'play', *map(str, arguments)],
                env={**os.environ, 'ROS_DOMAIN_ID': str(client.context.get_domain_id())},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return running[-1]

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def finish(client, process):
    """Spin until the player has ended, and a little longer for what is on its way."""
    client.wait(lambda: process.poll() is not None, 'the end of play')
    output, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, errors
    return output, errors


def test_a_bag_comes_as_a_live_camera_with_stamps_of_now(bag, player, client):
    images = listen(client, '/front/image_raw', Image, qos_profile_sensor_data)
    infos = listen(client, '/front/camera_info', CameraInfo, KEEP)
    odometry = listen(client, '/odom', Odometry, KEEP)
    before = time.time_ns()
    output, _ = finish(client, player(bag, '--wait', TIMEOUT_S))
    client.wait(lambda: len(images) == 6, 'six images')
    assert '6 images' in output
    assert [m.data[0] for m in images] == [0, 10, 20, 30, 40, 50]
    assert (images[0].width, images[0].height, images[0].encoding, images[0].step) == (96, 64, 'rgb8', 288)
    assert images[3].data == array.array('B', picture(3).tobytes())
    stamps = [stamp_ns(m) for m in images]
    assert np.diff(stamps).tolist() == [40_000_000] * 5
    assert before < stamps[0] < time.time_ns()
    assert [stamp_ns(m) for m in infos] == stamps == [stamp_ns(m) for m in odometry]
    assert (infos[0].k[0], infos[0].width, infos[0].header.frame_id) == (80.0, 96, 'optical')
    assert [m.pose.pose.position.x for m in odometry] == [0, 1, 2, 3, 4, 5]


def test_a_bag_of_stamps_of_another_clock_plays_slowly(tmp_path, player, client):
    """A camera that counts from its own start: decades before the recording, and four times that fits no stamp."""
    start = 1_700_000_000_000_000_000
    with BagWriter(tmp_path / 'drive') as writer:
        for i in range(3):
            image = messages.image('/front/image_raw', 10**9 + i, 'optical', from_array(picture(i), 'rgb8'))
            writer.write(image._replace(stamp_ns=start + 40_000_000 * i))
    images = listen(client, '/front/image_raw', Image, KEEP)
    finish(client, player(tmp_path / 'drive', '--rate', '0.25', '--wait', TIMEOUT_S))
    client.wait(lambda: len(images) == 3, 'three images')
    assert [stamp_ns(m) for m in images] == [0, 0, 0]


def test_clock_keeps_the_recorded_stamps(bag, player, client):
    images = listen(client, '/front/image_raw', Image, KEEP)
    clock = listen(client, '/clock', Clock, KEEP)
    finish(client, player(bag, '--clock', '--rate', 0.5, '--wait', TIMEOUT_S))
    client.wait(lambda: len(images) == 6, 'six images')
    assert [stamp_ns(m) - 1_700_000_000_000_000_000 for m in images] == [i * 40_000_000 for i in range(6)]
    times = [c.clock.sec * 10**9 + c.clock.nanosec for c in clock]
    assert times == sorted(times)
    assert 1_700_000_000_000_000_000 <= times[0] <= times[-1] <= 1_700_000_000_200_000_000
    assert len(times) > 12


def test_a_folder_loops_until_ctrl_c_and_ends_with_0(tmp_path, player, client):
    for i in range(3):
        cv2.imwrite(str(tmp_path / f'{i}.png'), picture(i))
    images = listen(client, '/rear/image_raw', Image, qos_profile_sensor_data)
    process = player(tmp_path, '--camera', 'rear', '--fps', 50, '--loop', '--wait', TIMEOUT_S)
    client.wait(lambda: len(images) > 7, 'more images than files')
    process.send_signal(signal.SIGINT)
    _, errors = finish(client, process)
    assert 'Traceback' not in errors
    assert {m.header.frame_id for m in images} == {'rear_optical_frame'}
    stamps = [stamp_ns(m) for m in images]
    assert stamps == sorted(set(stamps))


def test_sigterm_ends_with_0(bag, player, client):
    images = listen(client, '/front/image_raw', Image, qos_profile_sensor_data)
    process = player(bag, '--loop', '--wait', TIMEOUT_S)
    client.wait(lambda: images, 'an image')
    process.send_signal(signal.SIGTERM)
    finish(client, process)


def test_compressed_images_go_out_as_they_are_under_another_name(tmp_path, player, client):
    jpeg = cv2.imencode('.jpg', picture(7))[1].reshape(-1)
    with BagWriter(tmp_path / 'drive') as writer:
        writer.write(messages.compressed_image('/cam/color/compressed', 5, 'optical', jpeg, 'jpeg'))
    found = listen(client, '/front/image_raw/compressed', CompressedImage, KEEP)
    finish(client, player(tmp_path / 'drive', '--camera', 'front', '--wait', TIMEOUT_S))
    client.wait(lambda: found, 'the compressed image')
    assert (bytes(found[0].data), found[0].format) == (jpeg.tobytes(), 'jpeg')


def test_it_waits_for_as_many_subscribers_as_asked_for(bag, player, client):
    images = listen(client, '/front/image_raw', Image, KEEP)
    process = player(bag, '--wait', TIMEOUT_S, '--subscribers', 2)
    topic = '/front/image_raw'
    client.wait(lambda: client.node.count_publishers(topic), 'the player')
    end = time.monotonic() + 1.5
    client.wait(lambda: time.monotonic() > end, 'a while')
    assert not images
    second = client.node.create_subscription(Image, topic, lambda _: None, KEEP)
    finish(client, process)
    client.wait(lambda: len(images) == 6, 'six images')
    client.node.destroy_subscription(second)


def test_what_cannot_be_played_is_one_line(player, client, tmp_path):
    process = player(tmp_path / 'nothing')
    client.wait(lambda: process.poll() is not None, 'the end of play')
    _, errors = process.communicate()
    assert process.returncode == 1
    assert errors == (
        f'seg_perception: error: {tmp_path}/nothing: no such file or folder; '
        'give a bag, a video, a folder of frames or scene:SEED\n'
    )


def test_nothing_played_is_an_error(player, client, tmp_path):
    (tmp_path / 'a.png').write_bytes(b'no picture')
    process = player(tmp_path)
    client.wait(lambda: process.poll() is not None, 'the end of play')
    _, errors = process.communicate()
    assert process.returncode == 1
    assert 'a.png: left out' in errors
    assert 'no image could be played' in errors


def test_a_drive_that_is_rendered_first_says_so_at_once(player):
    process = player('scene:7', '--fps', '2')
    assert process.stdout.readline() == 'scene:7: rendering 40 images, then they are played\n'


def test_a_signal_at_any_moment_of_a_wait_ends_it():
    """Signals every fifth of a millisecond meet each place in `wait`; a lock taken there would hang."""
    code = (
        'import signal, time; from seg_perception.ros.player import Stop; '
        'stop = Stop(); calls = []; '
        'signal.signal(signal.SIGALRM, lambda *_: (calls.append(1), stop.set(), setattr(stop, "_set", False))); '
        'signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002); '
        'end = time.monotonic() + 2.0\n'
        'while time.monotonic() < end: stop.wait(0.0001)\n'
        'signal.setitimer(signal.ITIMER_REAL, 0); print(len(calls))'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=30)
    assert int(done.stdout) > 100, done.stderr
