"""Cameras with one fault each, as a real process: `python faulty_cameras.py SCENARIO`. Runs until it is stopped."""

from __future__ import annotations

import array
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rclpy.clock import Clock as SteadyClock
from rclpy.clock import ClockType
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
WIDTH, HEIGHT = 64, 48


def stamp(offset_s: float = 0.0) -> Time:
    """Return the system time, moved."""
    ns = time.time_ns() + round(offset_s * 1e9)
    return Time(sec=ns // 10**9, nanosec=ns % 10**9)


def image(when: Time, width: int = WIDTH, height: int = HEIGHT, **fields: Any) -> Image:
    """Return a grey bgr8 image with fields overwritten."""
    message = Image(width=width, height=height, encoding='bgr8', step=width * 3)
    message.data = array.array('B', bytes(width * height * 3))
    message.header.stamp, message.header.frame_id = when, 'optical'
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def info(when: Time, width: int = WIDTH, height: int = HEIGHT, focal: float = 50.0) -> CameraInfo:
    """Return a pinhole calibration."""
    message = CameraInfo(width=width, height=height, distortion_model='plumb_bob', d=[0.0] * 5)
    message.k = [focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, 1.0]
    message.header.stamp, message.header.frame_id = when, 'optical'
    return message


class Cameras:
    """Publishes every camera of a scenario from one timer each; steady, so that a stopped /clock stops nothing here."""

    def __init__(self, node: Any) -> None:
        self.node = node

    def add(
        self,
        name: str,
        make: Callable[[Time], Any] | None = image,
        make_info: Callable[[Time], Any] | None = info,
        *,
        offset_s: float = 0.0,
        hz: float = 20.0,
        kind: Any = Image,
        topic: str = 'image_raw',
    ) -> None:
        """Publish a camera; None for a message that is advertised and never sent."""
        images = self.node.create_publisher(kind, f'/{name}/{topic}', BEST_EFFORT)
        infos = self.node.create_publisher(CameraInfo, f'/{name}/camera_info', BEST_EFFORT) if make_info else None

        def publish() -> None:
            when = stamp(offset_s)
            if make is not None:
                images.publish(make(when))
            if infos is not None and make_info is not None:
                infos.publish(make_info(when))

        self.every(1 / hz, publish)

    def every(self, period_s: float, call: Callable[[], None]) -> None:
        """Call again and again."""
        self.node.create_timer(period_s, call, clock=SteadyClock(clock_type=ClockType.STEADY_TIME))


def one_fault_each(c: Cameras) -> None:
    """Every camera but `good` has one fault, named as the camera."""
    c.add('good')
    c.add('encoding', lambda t: image(t, encoding='bayer_magic'))
    c.add('short_step', lambda t: image(t, step=10))
    c.add('short_data', lambda t: image(t, data=array.array('B', bytes(100))))
    c.add('other_size', make_info=lambda t: info(t, 128, 96))
    c.add('no_info', make_info=None)
    c.add('zero_focal', make_info=lambda t: info(t, focal=0.0))
    c.add('nan_focal', make_info=lambda t: info(t, focal=math.nan))
    c.add('past', offset_s=-3600.0)
    c.add('future', offset_s=5.0)
    c.add('zero_stamp', lambda t: image(Time()))
    c.add('slow', hz=2.0)
    c.add('silent', make=None)
    c.add('no_frame', lambda t: no_frame(image(t)))
    c.add('doubled')
    c.node.create_publisher(Image, '/doubled/image_raw', BEST_EFFORT)
    c.add('corrupt', corrupt, kind=CompressedImage, topic='image_raw/compressed')
    c.add('unheard')
    c.node.create_subscription(Image, '/unheard/image_raw', lambda _: None, 10)


def no_frame(message: Image) -> Image:
    """Clear the frame."""
    message.header.frame_id = ''
    return message


def corrupt(when: Time) -> CompressedImage:
    """Return something that is no JPEG."""
    message = CompressedImage(format='jpeg', data=array.array('B', b'not a picture'))
    message.header.stamp, message.header.frame_id = when, 'optical'
    return message


def healthy(c: Cameras) -> None:
    """One good camera."""
    c.add('front')


def street(c: Cameras) -> None:
    """A picture in the palette's colours, which `fake_node.py` labels: road with a lane line, an obstacle, the rest."""
    from seg_perception.engine.fake import FakeEngine
    from seg_perception.labels import Role

    colors = {k.role: k.color for k in FakeEngine().spec.labels.classes if k.role is not Role.OTHER}
    pixels = np.full((256, 384, 3), 90, np.uint8)
    cv2.fillPoly(pixels, [np.array([[150, 110], [230, 110], [384, 256], [0, 256]])], colors[Role.ROAD])
    cv2.line(pixels, (190, 110), (190, 255), colors[Role.LANE], 6)
    cv2.rectangle(pixels, (215, 100), (250, 140), colors[Role.OBSTACLE], -1)
    data = array.array('B', pixels.tobytes())
    c.add('front', lambda t: image(t, 384, 256, encoding='rgb8', data=data), lambda t: info(t, 384, 256, 300.0), hz=8.0)


def clock_stopped(c: Cameras) -> None:
    """A camera and a /clock that always says the same."""
    c.add('front')
    clock = c.node.create_publisher(Clock, '/clock', 10)
    c.every(0.05, lambda: clock.publish(Clock(clock=Time(sec=1000))))


def clock_replayed(c: Cameras) -> None:
    """A running /clock of an hour ago with a camera on that time and one on the system's."""
    c.add('front', offset_s=-3600.0)
    c.add('live')
    clock = c.node.create_publisher(Clock, '/clock', 10)
    c.every(0.02, lambda: clock.publish(Clock(clock=stamp(-3600.0))))


def large(c: Cameras) -> None:
    """720p images at 30 Hz: 2.6 MiB each."""
    pixels = array.array('B', bytes(1280 * 720 * 3))
    c.add(
        'front',
        lambda t: image(t, 1280, 720, data=pixels),
        lambda t: info(t, 1280, 720, 800.0),
        hz=30.0,
    )


SCENARIOS = {f.__name__: f for f in (one_fault_each, healthy, street, clock_stopped, clock_replayed, large)}

if __name__ == '__main__':
    rclpy.init()
    fault = rclpy.create_node('driver')
    SCENARIOS[sys.argv[1]](Cameras(fault))
    print('ready', flush=True)
    try:
        rclpy.spin(fault)
    except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()
