"""/diagnostics: one status for the engine, one per camera, one for the grid."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType

from seg_perception.ros.camera_input import CameraInput
from seg_perception.ros.config import NodeConfig
from seg_perception.ros.outputs import Outputs
from seg_perception.ros.processor import NO_EVIDENCE, Processor
from seg_perception.ros.worker import Worker, describe

ERRORS = {'bad_image', 'stale'}
"""Problems that leave a camera without labels; with the others it has labels but may give no grid."""
BLIND = ERRORS | NO_EVIDENCE | {'no_grid'}
"""Problems with which a camera gives the grid nothing."""


class Diagnostics:
    """Watches cameras for silence and publishes the state of everything, on a steady clock: sim time may stand still."""

    def __init__(self, node: Any, config: NodeConfig) -> None:
        self._node, self._config = node, config
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._timer = node.create_timer(
            config.diagnostics_period_s, self._publish, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._worker: Worker | None = None
        self._inputs: dict[str, CameraInput] = {}
        self._outputs: Outputs | None = None
        self._processor: Processor | None = None
        self._last: dict[str, tuple[float, int]] = {}
        self._since_s = time.monotonic()
        self._seen: set[str] = set()
        self.odometry_problem = ''
        self.enabled = True

    def watch(self, worker: Worker, processor: Processor, inputs: dict[str, CameraInput], outputs: Outputs) -> None:
        """Report on a configured node."""
        self._worker, self._processor, self._inputs, self._outputs = worker, processor, inputs, outputs
        self._since_s = time.monotonic()

    def forget(self) -> None:
        """Report that nothing is configured."""
        self._worker = self._processor = self._outputs = None
        self._inputs = {}

    def configure(self, config: NodeConfig) -> None:
        """Take new live parameters."""
        self._config = config

    def _publish(self) -> None:
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.status = [self._engine(), *(self._camera(c) for c in self._inputs.values()), *self._grid()]
        self._publisher.publish(message)

    def _status(self, part: str, level: bytes, text: str, values: dict[str, Any]) -> DiagnosticStatus:
        name = self._node.get_name()
        pairs = [KeyValue(key=k, value=_text(v)) for k, v in values.items()]
        return DiagnosticStatus(name=f'{name}: {part}', level=level, message=text, hardware_id=name, values=pairs)

    def _engine(self) -> DiagnosticStatus:
        if self._worker is None or self._processor is None:
            return self._status('engine', DiagnosticStatus.WARN, 'not configured', {})
        values = describe(self._worker.engine)
        values['engine errors'] = self._worker.engine_errors
        values['engine ms'] = self._processor.engine_ms
        values['frame ms'] = self._processor.frame_ms
        if self._worker.engine_problem:
            return self._status('engine', DiagnosticStatus.ERROR, self._worker.engine_problem, values)
        since_s = self._worker.run_since_s
        run_s = 0.0 if since_s is None else time.monotonic() - since_s
        if run_s > self._config.image_timeout_s:
            text = f'no answer for {run_s:.0f} s; when that goes on, restart the node and look at the device'
            return self._status('engine', DiagnosticStatus.ERROR, text, values)
        return self._status('engine', DiagnosticStatus.OK, 'running' if self.enabled else 'disabled', values)

    def _camera(self, camera: CameraInput) -> DiagnosticStatus:
        status = camera.status
        self._watch_silence(camera)
        now_s = time.monotonic()
        then_s, processed = self._last.get(camera.name, (self._since_s, 0))
        self._last[camera.name] = now_s, status.counts['processed']
        p50, p99 = status.age_percentiles_ms()
        values: dict[str, Any] = {
            'topic': camera.topic,
            'rate Hz': (status.counts['processed'] - processed) / max(now_s - then_s, 1e-3),
            'age p50 ms': p50,
            'age p99 ms': p99,
            **{kind.replace('_', ' '): n for kind, n in sorted(status.counts.items())},
        }
        current = dict(status.problems.current)
        level = DiagnosticStatus.OK
        if current:
            level = DiagnosticStatus.ERROR if ERRORS & current.keys() else DiagnosticStatus.WARN
        return self._status(f'camera {camera.name}', level, '; '.join(current.values()) or 'ok', values)

    def _watch_silence(self, camera: CameraInput) -> None:
        status, timeout_s = camera.status, self._config.image_timeout_s
        last_s = status.last_arrival_s
        silent_s = time.monotonic() - (self._since_s if last_s is None else last_s)
        if silent_s <= timeout_s:
            self._back(camera)
        elif last_s is None:
            text = f'no image on {camera.topic} yet; check that the camera runs, its topic name and its QoS'
            _hold_once(status.problems, text)
        else:
            _hold_once(status.problems, f'no image on {camera.topic} for more than {timeout_s} s; check the camera')

    def _back(self, camera: CameraInput) -> None:
        problems = camera.status.problems
        if 'stale' in problems.current:
            problems.clear('stale')
            if camera.name in self._seen:
                problems.note('restart', f'images on {camera.topic} are back')
        if camera.status.last_arrival_s is not None:
            self._seen.add(camera.name)

    def _grid(self) -> Iterator[DiagnosticStatus]:
        if self._outputs is None or self._processor is None:
            return
        blind = [c.name for c in self._inputs.values() if BLIND & c.status.problems.current.keys()]
        values = {
            'free ahead m': self._outputs.grid.free_ahead_m,
            **self._outputs.values(),
            **self._processor.odometry_counts(),
        }
        if self.odometry_problem:
            yield self._status('grid', DiagnosticStatus.WARN, self.odometry_problem, values)
        elif blind:
            yield self._status('grid', DiagnosticStatus.WARN, f'nothing from {", ".join(blind)}; see there', values)
        else:
            text = 'ok' if self._outputs.wants_geometry() else 'idle: nobody listens'
            yield self._status('grid', DiagnosticStatus.OK, text, values)


def _hold_once(problems: Any, text: str) -> None:
    """A silent camera is one occurrence, however long it lasts."""
    if 'stale' not in problems.current:
        problems.report('stale', text)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return 'unknown' if math.isnan(value) else f'{value:.2f}'
    return str(value)
