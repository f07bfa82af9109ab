"""Calibration files as ROS's camera_calibration writes them, with an optional pose of the camera."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from seg_perception.camera import CameraModel, Pose
from seg_perception.errors import CameraError, first_line


class Calibration(NamedTuple):
    """What one calibration file says."""

    camera_model: CameraModel
    vehicle_from_camera: Pose | None
    """From the optional key `extrinsics: [x, y, z, roll, pitch, yaw]`, as `Pose.mounted`."""


def read_calibration(path: Path) -> Calibration:
    """Read a camera_info YAML.

    Raises:
        CameraError: unreadable, a key is missing, or the numbers are not a calibration.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        text = f'{path}: cannot read the calibration ({first_line(error)}); expected a camera_info YAML'
        raise CameraError(text) from error
    try:
        model = CameraModel.from_camera_info(
            int(data['image_width']),
            int(data['image_height']),
            _numbers(data['camera_matrix']),
            _numbers(data.get('distortion_coefficients') or []),
            str(data.get('distortion_model') or ''),
        )
        extrinsics = data.get('extrinsics')
        if extrinsics is None:
            return Calibration(model, None)
        x, y, z, roll, pitch, yaw = (float(v) for v in extrinsics)
        return Calibration(model, Pose.mounted(x, y, z, roll, pitch, yaw))
    except CameraError as error:
        raise CameraError(f'{path}: {error}') from error
    except (KeyError, TypeError, ValueError) as error:
        raise CameraError(
            f'{path}: not a calibration ({error!r}); expected image_width, image_height, camera_matrix and, if known, '
            'distortion_model, distortion_coefficients, extrinsics: [x, y, z, roll, pitch, yaw]'
        ) from error


def _numbers(value: Mapping[str, Any] | list[Any]) -> list[float]:
    data = value['data'] if isinstance(value, Mapping) else value
    return [float(v) for v in data]


def find_calibration(path: Path) -> Path | None:
    """Return the calibration beside a recording.

    A folder's is `camera_info.yaml` in it or next to it; a video's is `<stem>.camera_info.yaml` next to it, for a
    plain `camera_info.yaml` there may be another camera's.
    """
    if path.is_dir():
        candidates = [path / 'camera_info.yaml', path.resolve().parent / 'camera_info.yaml']
    else:
        candidates = [path.with_suffix('.camera_info.yaml')]
    return next((c for c in candidates if c.is_file()), None)
