"""camera_info: present, usable, and of this image."""

from __future__ import annotations

from collections.abc import Iterator

from seg_perception.camera import CameraModel
from seg_perception.doctor.checks_camera import image_size
from seg_perception.doctor.findings import Finding, error, ok, warning
from seg_perception.doctor.snapshot import CameraSnapshot, InfoSample
from seg_perception.errors import CameraError

CALIBRATE = 'calibrate (ros2 run camera_calibration cameracalibrator) and load the result in the driver'
TYPE = 'sensor_msgs/msg/CameraInfo'


def check(camera: CameraSnapshot) -> Iterator[Finding]:
    """Yield the findings of the camera_info topic. Without calibration there are labels and no grid."""
    subject = f'camera {camera.name}'
    topic = camera.info
    if not topic.publishers:
        yield error(
            subject,
            'camera_info',
            f'nothing publishes {topic.name}: labels are made, but no grid',
            f'publish it from the driver, or set `{camera.name}.info_topic`',
        )
        return
    wrong = sorted({p.type for p in topic.publishers} - {TYPE})
    if wrong:
        remedy = f'set `{camera.name}.info_topic` to a topic of {TYPE}'
        yield error(subject, 'camera_info', f'{topic.name} is {wrong[0]}; expected {TYPE}', remedy)
    elif camera.calibration is None:
        yield error(
            subject,
            'camera_info',
            f'{topic.publishers[0].node} publishes {topic.name} but sent nothing',
            'let the driver publish it with every image',
        )
    else:
        yield _usable(camera, camera.calibration, subject)
        yield from _consistent(camera, camera.calibration, subject)


def _usable(camera: CameraSnapshot, info: InfoSample, subject: str) -> Finding:
    try:
        model = CameraModel.from_camera_info(
            info.width, info.height, info.k, info.d, info.distortion_model, info.binning, info.roi
        )
    except CameraError as problem:
        return error(subject, 'camera_info', str(problem), CALIBRATE)
    size = image_size(camera)
    if size is not None and size != (model.width, model.height):
        return error(
            subject,
            'camera_info',
            f'calibration is for {model.width}x{model.height}, the image is {size[0]}x{size[1]}',
            'publish the calibration of this size, or binning and roi; is the image resized on the way?',
        )
    if not (0 < model.cx < model.width and 0 < model.cy < model.height):
        return warning(
            subject,
            'camera_info',
            f'principal point ({model.cx:.0f}, {model.cy:.0f}) lies outside the {model.width}x{model.height} image',
            CALIBRATE,
        )
    return ok(
        subject,
        'camera_info',
        f'{model.width}x{model.height}, {model.distortion_model}, fx {model.fx:.1f} fy {model.fy:.1f} px',
    )


def _consistent(camera: CameraSnapshot, info: InfoSample, subject: str) -> Iterator[Finding]:
    """Compare headers with those of the images."""
    frame = camera.samples[-1].frame_id if camera.samples else info.frame_id
    if info.frame_id != frame:
        yield warning(
            subject,
            'frame_id',
            f'camera_info is of frame {info.frame_id!r}, the image of {frame!r}; the image decides',
            'give both the same frame_id in the driver',
        )
    stamps = {a.stamp_ns for a in camera.infos}
    if len(camera.images) > 2 and len(stamps) > 2 and not stamps & {a.stamp_ns for a in camera.images}:
        yield warning(
            subject,
            'info_stamps',
            'no camera_info has the stamp of an image',
            'publish both with the same stamp; the newest calibration is used whatever its stamp',
        )
