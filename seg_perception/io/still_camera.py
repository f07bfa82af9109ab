"""What videos, folders and synthetic drives share: one named camera with one calibration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from seg_perception.camera import CameraModel, Pose
from seg_perception.io import messages
from seg_perception.io.calibration import find_calibration, read_calibration
from seg_perception.io.recording import ImageTopic, RecordedFrame, RecordingOptions, TimedMessage


def mounting(options: RecordingOptions) -> Pose | None:
    """Return the pose given by the `extrinsics` option."""
    return None if options.extrinsics is None else Pose.mounted(*options.extrinsics)


def calibration_of(path: Path, options: RecordingOptions) -> tuple[CameraModel | None, Pose | None]:
    """Return intrinsics and pose of the only camera: from the options, else from the file beside the recording.

    Raises:
        CameraError: the calibration file is unusable.
    """
    file = options.camera_info or find_calibration(path)
    model, pose = read_calibration(file) if file else (None, None)
    return model, mounting(options) or pose


def image_topic(camera: str) -> ImageTopic:
    """Return where the images of a camera are published."""
    return ImageTopic(f'/{camera}/image_raw', messages.IMAGE)


def as_messages(frames: Iterator[RecordedFrame], options: RecordingOptions) -> Iterator[TimedMessage]:
    """Turn frames into what a camera driver with TF and odometry would have published."""
    mounted: Pose | None = None
    for frame in frames:
        stamp = frame.stamp_ns
        if frame.vehicle_from_camera is not None and frame.vehicle_from_camera != mounted:
            mounted = frame.vehicle_from_camera
            yield messages.static_transform(stamp, options.vehicle_frame, frame.frame_id, mounted)
        if frame.odom_from_vehicle is not None:
            frames_of_odom = options.odom_frame, options.vehicle_frame
            yield messages.odometry(stamp, *frames_of_odom, frame.odom_from_vehicle)
            yield messages.moving_transform(stamp, *frames_of_odom, frame.odom_from_vehicle)
        if frame.camera_model is not None:
            yield messages.camera_info(f'/{frame.camera}/camera_info', stamp, frame.frame_id, frame.camera_model)
        yield messages.image(image_topic(frame.camera).topic, stamp, frame.frame_id, frame.image)
