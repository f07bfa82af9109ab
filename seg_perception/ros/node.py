"""The node `seg_perception_node`: a lifecycle shell around `Worker`, `CameraInput` and `Outputs`."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from lifecycle_msgs.srv import ChangeState, GetAvailableTransitions
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import SetBool, Trigger

from seg_perception.engine import Engine, open_engine
from seg_perception.engine.trt_progress import LogProgress
from seg_perception.errors import ConfigError, SegPerceptionError
from seg_perception.paths import default_model
from seg_perception.ros import parameters
from seg_perception.ros.camera_input import CameraInput, require_own_topics
from seg_perception.ros.camera_outputs import NO_EVENTS
from seg_perception.ros.diagnostics import Diagnostics
from seg_perception.ros.outputs import Outputs
from seg_perception.ros.processor import Processor
from seg_perception.ros.startup import init_ros
from seg_perception.ros.status import CameraStatus
from seg_perception.ros.tf import PoseSource
from seg_perception.ros.transport import send_in_background, use_large_segment
from seg_perception.ros.worker import Worker

EXPIRE_S = 0.1
"""How often a stale grid is looked for, also while the worker hangs in its engine."""

SIGNAL_POLL_S = 0.2
"""A signal does not wake a waiting executor; this long it may take to be seen."""

EngineFactory = Callable[..., Engine]
"""Signature of `seg_perception.engine.open_engine`."""


class PerceptionNode(LifecycleNode):
    """Camera images in; label images, masks and the drivable-area grid out. See docs/ros.md."""

    def __init__(self, engine_factory: EngineFactory = open_engine, stop: threading.Event | None = None) -> None:
        """Declare parameters, services and diagnostics; nothing is opened before `configure`.

        Args:
            stop: set by whoever wants the node to end, and by the node when its worker has crashed.

        Raises:
            ConfigError: a parameter is unknown, of the wrong type or out of range.
        """
        super().__init__('seg_perception')
        self._engine_factory, self._stop = engine_factory, stop or threading.Event()
        self.config, self.camera_configs = parameters.declare(self)
        self.failure: BaseException | None = None
        """Why the last `configure` failed, or what crashed the worker."""
        self.hangs = False
        """Whether the engine did not answer when it was to be closed, and still holds its thread."""
        self._worker: Worker | None = None
        self.inputs: dict[str, CameraInput] = {}
        self.processor: Processor | None = None
        """What `Worker` runs; like `inputs`, empty until configured."""
        self._outputs: Outputs | None = None
        self._poses: PoseSource | None = None
        self._active = False
        self._diagnostics = Diagnostics(self, self.config)
        self.create_timer(EXPIRE_S, self._expire, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.create_service(SetBool, '~/set_enabled', self._on_set_enabled)
        self.create_service(Trigger, '~/reset_grid', self._on_reset_grid)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._transitions, change_state = self._service(GetAvailableTransitions), self._service(ChangeState)
        self._change_state, change_state.callback = change_state.callback, self._on_change_state

    def create_lifecycle_publisher(self, *args: Any, **kwargs: Any) -> Any:
        """Create a publisher with `NO_EVENTS`."""
        return super().create_lifecycle_publisher(*args, event_callbacks=NO_EVENTS, **kwargs)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the engine and create subscriptions and publishers."""
        self.failure = None
        try:
            self._configure()
        except SegPerceptionError as error:
            self.failure = error
            self.close()
            self.get_logger().fatal(f'cannot be configured: {error}')
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # a bug, which rclpy would turn into a state without a word
            self.failure = error
            self.get_logger().fatal(f'cannot be configured: {error!r}')
            raise
        return super().on_configure(state)

    def _configure(self) -> None:
        self._worker = worker = Worker(self._open_engine, self.get_logger().error)
        engine = worker.open(lambda: not self._stop.is_set())
        self._outputs = Outputs(self, self.config, engine.spec.labels)
        self._poses = PoseSource(self, self.config, self.camera_configs, self._on_odometry_problem)
        self.inputs = {
            name: CameraInput(self, name, c, CameraStatus(name, self.get_logger().warning), worker.arrived)
            for name, c in self.camera_configs.items()
        }
        require_own_topics(self.inputs)
        self._enable_inputs()
        self.processor = Processor(self, self.config, self.inputs, self._poses, engine, self._outputs)
        worker.serve(self.processor, self.inputs, self._on_crash)
        self._diagnostics.watch(worker, self.processor, self.inputs, self._outputs)
        info = engine.info
        reason = f'; {info.reason}' if info.reason else ''
        self.get_logger().info(
            f'configured: {engine.spec.name} on {info.backend} ({info.device}, {info.precision}), cameras '
            f'{", ".join(self.config.cameras)}{reason}'
        )

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to process images."""
        result = super().on_activate(state)
        assert self._worker is not None
        assert self._outputs is not None
        for camera in self._outputs.cameras.values():
            camera.publish_label_info()
        self._worker.activate()
        self._active = True
        self._enable_inputs()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop to process images; the published grid turns unknown."""
        self._active = False
        self._enable_inputs()
        assert self._worker is not None
        assert self._outputs is not None
        self._outputs.grid.withdraw()  # the worker does so as well, unless it hangs
        self._worker.deactivate()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the engine and drop subscriptions and publishers."""
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Do as `on_cleanup`."""
        return self.on_cleanup(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Do as `on_cleanup`, so that the node can be configured again."""
        return self.on_cleanup(state)

    def close(self) -> None:
        """Withdraw the grid, stop the worker, destroy what `configure` created; calling it twice is allowed."""
        self._active = False
        self._diagnostics.forget()
        if self._worker is not None:
            if self.context.ok():
                if self._outputs is not None:
                    self._outputs.grid.withdraw()
                self._worker.deactivate()
            self._worker.stop()
            self.hangs = self._worker.alive
        for part in (*self.inputs.values(), self._poses, self._outputs):
            if part is not None:
                part.close()
        self._worker = self._poses = self._outputs = self.processor = None
        self.inputs = {}

    def _expire(self) -> None:
        if self._active and self._outputs is not None:
            self._outputs.grid.withdraw_stale(self.config.image_timeout_s)

    def _open_engine(self) -> Engine:
        model = Path(self.config.model).expanduser() if self.config.model else default_model()
        batch = min(self.config.max_batch, len(self.config.cameras))
        log = LogProgress()

        def building(phase: str, done: float) -> bool:
            worker = self._worker
            return log(phase, done) and not (self._stop.is_set() or worker is None or worker.stopping)

        return self._engine_factory(
            model, self.config.backend, max_batch=batch, threads=self.config.threads, progress=building
        )

    def _enable_inputs(self) -> None:
        for camera in self.inputs.values():
            camera.enabled = self._active and self._diagnostics.enabled
            if not camera.enabled:
                camera.take()

    def _service(self, kind: Any) -> Any:
        """Return the first of the node's services of a type: rclpy makes those of the lifecycle."""
        return next(s for s in self.services if s.srv_type is kind)

    def _on_change_state(self, request: Any, response: Any) -> Any:
        """Refuse a transition that this state does not have; rclpy would raise, which ends the node."""
        wanted, answer = request.transition, GetAvailableTransitions.Response()
        possible = self._transitions.callback(GetAvailableTransitions.Request(), answer).available_transitions
        found = [t.transition for t in possible]
        if any(wanted.label == t.label if wanted.label else wanted.id == t.id for t in found):
            return self._change_state(request, response)
        here = possible[0].start_state.label if possible else 'finalized'
        self.get_logger().warning(
            f'transition {wanted.label or wanted.id} is refused: the node is {here}, which allows '
            f'{", ".join(t.label for t in found) or "none"}'
        )
        response.success = False
        return response

    def _on_set_enabled(self, request: Any, response: Any) -> Any:
        self._diagnostics.enabled = request.data
        self._enable_inputs()
        if self._worker is not None and not request.data:
            self._worker.request_reset()
        response.success, response.message = True, 'enabled' if request.data else 'disabled'
        return response

    def _on_reset_grid(self, _request: Any, response: Any) -> Any:
        response.success = self._worker is not None
        response.message = 'grid cleared' if response.success else 'the node is not configured'
        if self._worker is not None:
            self._worker.request_reset()
        return response

    def _on_parameters(self, changes: list[Any]) -> SetParametersResult:
        try:
            self.config = parameters.changed(self.config, changes)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._diagnostics.configure(self.config)
        if self._worker is not None:
            self._worker.configure(self.config)
        return SetParametersResult(successful=True)

    def _on_odometry_problem(self, text: str | None) -> None:
        if text and not self._diagnostics.odometry_problem:
            self.get_logger().warning(text)
        self._diagnostics.odometry_problem = text or ''

    def _on_crash(self) -> None:
        """End the spinning of the main thread, which raises the failure again."""
        self.failure = self._worker.crash if self._worker is not None else None
        self._stop.set()


def start(node: PerceptionNode) -> None:
    """Configure and activate.

    Raises:
        SegPerceptionError: the engine cannot be opened.
    """
    if node.trigger_configure() != TransitionCallbackReturn.SUCCESS:
        raise node.failure or RuntimeError('configure failed')
    if node.trigger_activate() != TransitionCallbackReturn.SUCCESS:
        raise RuntimeError('activate failed')


def main(args: list[str] | None = None, engine_factory: EngineFactory = open_engine) -> int:
    """Run the node until SIGINT or SIGTERM; return the exit code: 0, or 1 when it could not start."""
    use_large_segment()
    send_in_background()
    node = None
    try:
        stop = init_ros(args)
        node = PerceptionNode(engine_factory, stop)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if node.config.autostart:
            start(node)
        else:
            node.get_logger().info('unconfigured: waiting for a lifecycle manager, autostart is false')
        while not stop.is_set():
            executor.spin_once(timeout_sec=SIGNAL_POLL_S)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except SegPerceptionError as error:
        if node is None:  # else `on_configure` has logged it
            print(f'seg_perception_node: error: {error}', file=sys.stderr)
        return 1
    finally:
        failure = node.failure if node is not None else None
        if node is not None:
            node.close()
        rclpy.try_shutdown()
        if node is not None and node.hangs:  # a thread inside TensorRT or CUDA does not survive Python's own end
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0 if failure is None else 1)
    if failure is not None and not isinstance(failure, (SegPerceptionError, KeyboardInterrupt)):
        raise failure
    return 0


if __name__ == '__main__':
    sys.exit(main())
