"""Publishes a recording as live sensors: its serialised messages at their times, restamped or with /clock."""

from __future__ import annotations

import importlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import rclpy
from rclpy.duration import Duration
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from seg_perception.errors import ConfigError
from seg_perception.io import messages
from seg_perception.io.prefetch import Prefetch
from seg_perception.io.recording import ImageTopic, TimedMessage
from seg_perception.ros.transport import use_large_segment

AHEAD = 4
"""Messages prepared before they are due."""

CLOCK_PERIOD_S = 0.01
LATE_S = 0.05
STOP_POLL_S = 0.05
LAST_DELIVERY_S = 5.0
"""How long the last messages may take to reach subscribers that do not lose any; gone publishers send nothing again."""


@dataclass(frozen=True, slots=True)
class PlayConfig:
    """How to play."""

    rate: float = 1.0
    """Speed: 2.0 plays twice as fast."""
    loop: bool = False
    clock: bool = False
    """Publish /clock and keep the recorded stamps; otherwise stamps are those of now."""
    wait_s: float = 0.0
    """How long to wait for subscribers of all images before the first message."""
    subscribers: int = 1
    """How many subscribers of each image topic to wait for."""

    def __post_init__(self) -> None:
        if not 0.01 <= self.rate <= 100:
            raise ConfigError(f'rate is {self.rate}; expected 0.01 to 100 times the recorded speed')
        if not self.wait_s >= 0:
            raise ConfigError(f'wait is {self.wait_s} s; expected 0 or more')
        if self.subscribers < 1:
            raise ConfigError(f'subscribers is {self.subscribers}; expected 1 or more')


class Playable(Protocol):
    """What can be played: a `Recording`, or a `Spool` of one."""

    @property
    def image_topics(self) -> tuple[ImageTopic, ...]:
        """Topics of the images."""

    def messages(self) -> Iterator[TimedMessage]:
        """Yield the messages in recording order."""


class Played(NamedTuple):
    """What was published."""

    images: int
    messages: int
    seconds: float
    """From the first message to the last."""
    late: int
    """Images published more than 50 ms after they were due."""
    left_out: dict[str, str]
    """Topics that could not be published, and why."""
    interrupted: bool


def play(recording: Playable, config: PlayConfig, on_image: Callable[[], None] = lambda: None) -> Played:
    """Publish `recording` until it ends or SIGINT or SIGTERM comes.

    Args:
        on_image: called after each published image, for progress.
    """
    use_large_segment()
    stop = Stop()
    previous = {s: signal.signal(s, stop.set) for s in (signal.SIGINT, signal.SIGTERM)}
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        player = _Player(recording, config, stop, on_image)
        return player.run()
    finally:
        rclpy.try_shutdown()
        for number, handler in previous.items():
            signal.signal(number, handler)


class Stop:
    """A flag for a signal handler: `threading.Event.set` takes a lock that the thread it interrupts may hold in `wait`."""

    def __init__(self) -> None:
        self._set = False

    def set(self, *_: Any) -> None:
        """Raise the flag; arguments of a signal handler are accepted."""
        self._set = True

    def is_set(self) -> bool:
        """Return whether the flag is up."""
        return self._set

    def wait(self, seconds: float) -> bool:
        """Sleep so long, or until the flag is up; return whether it is."""
        end = time.monotonic() + seconds
        while not self._set and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, STOP_POLL_S))
        return self._set


class _Player:
    def __init__(self, recording: Playable, config: PlayConfig, stop: Stop, on_image: Callable[[], None]) -> None:
        self._recording, self._config, self._stop, self._on_image = recording, config, stop, on_image
        self._node = rclpy.create_node('seg_perception_play')
        self._publishers: dict[str, Any] = {}
        self._left_out: dict[str, str] = {}
        self._images = self._messages = self._late = 0
        self._start_s = 0.0
        self._clock = self._publisher('/clock', messages.CLOCK) if config.clock else None

    def run(self) -> Played:
        rounds = 0
        while not self._stop.is_set() and (rounds == 0 or (self._config.loop and self._messages)):
            self._play_once(wait_s=self._config.wait_s if rounds == 0 else 0.0)
            rounds += 1
        interrupted = self._stop.is_set()
        seconds = time.monotonic() - self._start_s if self._start_s else 0.0
        if not interrupted:
            self._await_delivery()
        self._node.destroy_node()
        return Played(self._images, self._messages, seconds, self._late, self._left_out, interrupted)

    def _play_once(self, wait_s: float) -> None:
        self._await_subscribers(wait_s)
        timeline: _Timeline | None = None
        with Prefetch(self._recording.messages(), AHEAD) as upcoming:
            for message in upcoming:
                timeline = timeline or _Timeline(message.stamp_ns, self._config.rate)
                self._start_s = self._start_s or time.monotonic()
                if not self._wait_until(timeline, message.stamp_ns):
                    return
                self._publish(message, timeline)

    def _await_subscribers(self, wait_s: float) -> None:
        """Announce the image topics, and wait until as many listen to each as asked for."""
        publishers = [self._publisher(t.topic, t.msgtype) for t in self._recording.image_topics]
        end, least = time.monotonic() + wait_s, self._config.subscribers
        while time.monotonic() < end and any(p.get_subscription_count() < least for p in publishers):
            if self._stop.wait(0.02):
                return

    def _await_delivery(self) -> None:
        """Stay until every reliable subscriber has acknowledged the last messages."""
        end = time.monotonic() + LAST_DELIVERY_S
        for publisher in filter(None, self._publishers.values()):
            while not publisher.wait_for_all_acked(Duration(seconds=0.05)):
                if self._stop.is_set() or time.monotonic() > end:
                    return

    def _wait_until(self, timeline: _Timeline, stamp_ns: int) -> bool:
        """Sleep until a recorded moment is due, with the clock running; False when asked to stop."""
        while True:
            if self._clock is not None:
                now = min(timeline.recorded_now_ns(), stamp_ns)
                self._clock.publish(messages.clock(now).data)
            remaining = timeline.remaining_s(stamp_ns)
            if remaining <= 0:
                return not self._stop.is_set()
            if self._stop.wait(min(remaining, CLOCK_PERIOD_S) if self._clock is not None else remaining):
                return False

    def _publish(self, message: TimedMessage, timeline: _Timeline) -> None:
        publisher = self._publisher(message.topic, message.msgtype)
        if publisher is None:
            return
        publisher.publish(message.data if self._config.clock else restamp(message, timeline.live_ns))
        self._messages += 1
        if message.msgtype in (messages.IMAGE, messages.COMPRESSED_IMAGE):
            self._images += 1
            self._late += timeline.remaining_s(message.stamp_ns) < -LATE_S
            self._on_image()

    def _publisher(self, topic: str, msgtype: str) -> Any:
        """Return the publisher of a topic, made on first use; None when its message package is not installed."""
        if topic in self._left_out:
            return None
        if topic not in self._publishers:
            package, _, name = msgtype.split('/')
            try:
                kind = getattr(importlib.import_module(f'{package}.msg'), name)
            except ImportError:
                self._left_out[topic] = f'{package} is not installed'
                return None
            self._publishers[topic] = self._node.create_publisher(kind, topic, _qos(topic, msgtype))
        return self._publishers[topic]


def _qos(topic: str, msgtype: str) -> QoSProfile:
    """Reliable, so that every subscriber matches; few big frames, so that a slow one does not hold memory."""
    if topic.endswith('tf_static'):
        return QoSProfile(
            depth=100, reliability=QoSReliabilityPolicy.RELIABLE, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL
        )
    depth = 5 if msgtype in (messages.IMAGE, messages.COMPRESSED_IMAGE) else 100
    return QoSProfile(depth=depth, reliability=QoSReliabilityPolicy.RELIABLE)


class _Timeline:
    """Maps recorded time to the clock on the wall."""

    def __init__(self, first_ns: int, rate: float) -> None:
        self._first_ns, self._rate = first_ns, rate
        self._start_s, self._start_ns = time.monotonic(), time.time_ns()

    def remaining_s(self, recorded_ns: int) -> float:
        """Return the seconds until a recorded moment is due; negative when it is late."""
        return self._start_s + (recorded_ns - self._first_ns) / 1e9 / self._rate - time.monotonic()

    def recorded_now_ns(self) -> int:
        """Return the recorded moment that is due now."""
        return self._first_ns + round((time.monotonic() - self._start_s) * 1e9 * self._rate)

    def live_ns(self, recorded_ns: int) -> int:
        """Return when a recorded moment is due, as a stamp of the system clock; 0 for those long before, such as 0."""
        return max(0, self._start_ns + round((recorded_ns - self._first_ns) / self._rate))


def restamp(message: TimedMessage, new_ns: Callable[[int], int]) -> bytes:
    """Return the message with its stamps mapped by `new_ns`, so that images, TF and odometry still fit together."""
    if message.msgtype == messages.TF:
        decoded = messages.deserialize(message.data, messages.TF)
        for transform in decoded.transforms:
            transform.header.stamp = messages.time_of(new_ns(messages.stamp_ns(transform.header.stamp)))
        return messages.pack(message.topic, messages.TF, 0, decoded).data
    stamp = new_ns(messages.header_stamp(message.data))
    return messages.with_header_stamp(message.data, stamp)
