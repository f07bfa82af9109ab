"""From camera bytes to the network's input, and labels back to the camera's size.

Encodings are those of sensor_msgs/image_encodings. The frame is resized while it is still in
the camera's own colour order and only the small result is converted to RGB.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.camera import CameraModel
from seg_perception.errors import CameraError, FrameError

UInt8 = npt.NDArray[np.uint8]


class _Layout(NamedTuple):
    channels: int
    to_rgb: int | None
    resizable: bool
    """Whether the pixels can be resized before conversion: not so when neighbours carry different colours."""


_LAYOUTS = {
    'rgb8': _Layout(3, None, True),
    'bgr8': _Layout(3, cv2.COLOR_BGR2RGB, True),
    'rgba8': _Layout(4, cv2.COLOR_RGBA2RGB, True),
    'bgra8': _Layout(4, cv2.COLOR_BGRA2RGB, True),
    'mono8': _Layout(1, cv2.COLOR_GRAY2RGB, True),
    '8UC1': _Layout(1, cv2.COLOR_GRAY2RGB, True),
    '8UC3': _Layout(3, cv2.COLOR_BGR2RGB, True),
    # OpenCV names a Bayer pattern by the second row's second and third pixel, ROS by the first two of the first row.
    'bayer_rggb8': _Layout(1, cv2.COLOR_BayerBG2RGB, False),
    'bayer_bggr8': _Layout(1, cv2.COLOR_BayerRG2RGB, False),
    'bayer_gbrg8': _Layout(1, cv2.COLOR_BayerGR2RGB, False),
    'bayer_grbg8': _Layout(1, cv2.COLOR_BayerGB2RGB, False),
    'yuv422': _Layout(2, cv2.COLOR_YUV2RGB_UYVY, False),
    'uyvy': _Layout(2, cv2.COLOR_YUV2RGB_UYVY, False),
    'yuv422_yuy2': _Layout(2, cv2.COLOR_YUV2RGB_YUY2, False),
    'yuyv': _Layout(2, cv2.COLOR_YUV2RGB_YUY2, False),
    'nv12': _Layout(1, cv2.COLOR_YUV2RGB_NV12, False),
    'nv21': _Layout(1, cv2.COLOR_YUV2RGB_NV21, False),
}
ENCODINGS = tuple(_LAYOUTS)


class Image(NamedTuple):
    """One camera image as delivered; `pixels` may be a view of the message's memory."""

    pixels: UInt8
    """[H, W, C], [H, W], or [3/2 H, W] for nv12 and nv21."""
    encoding: str
    width: int
    height: int


def view(data: Any, width: int, height: int, step: int, encoding: str) -> Image:
    """Look at raw image bytes without copying them; row padding is left out of the view.

    Args:
        data: any object with the buffer protocol.
        step: bytes in a row, padding included.

    Raises:
        FrameError: unknown encoding, zero size, odd size for a subsampled encoding, short step or short data.
    """
    layout = _LAYOUTS.get(encoding)
    if layout is None:
        raise FrameError(f'encoding {encoding!r} is not supported; expected one of {", ".join(ENCODINGS)}')
    if width <= 0 or height <= 0:
        raise FrameError(f'image is {width}x{height}; expected a positive size; check the camera driver')
    planar = encoding in ('nv12', 'nv21')
    if (planar and (width % 2 or height % 2)) or (layout.channels == 2 and width % 2):
        raise FrameError(f'{encoding} image is {width}x{height}; expected an even size; check the camera driver')
    row = width * layout.channels
    if step < row:
        raise FrameError(f'step is {step} bytes; expected at least {row} for {width} pixels of {encoding}')
    rows = height * 3 // 2 if planar else height
    flat = np.frombuffer(data, np.uint8)
    needed = step * (rows - 1) + row
    if len(flat) < needed:
        raise FrameError(
            f'image data is {len(flat)} bytes; expected {needed} for {width}x{height} {encoding} at step {step}'
        )
    shape = (rows, width) if layout.channels == 1 else (rows, width, layout.channels)
    strides = (step, 1) if layout.channels == 1 else (step, layout.channels, 1)
    pixels: UInt8 = np.ndarray(shape, np.uint8, flat, strides=strides)
    pixels.flags.writeable = False
    return Image(pixels, encoding, width, height)


def from_array(pixels: UInt8, encoding: str = 'bgr8') -> Image:
    """Wrap a decoded [H, W, 3] or [H, W] array."""
    return Image(pixels, encoding, pixels.shape[1], pixels.shape[0])


JPEG_START = b'\xff\xd8'
BLANK = 128
"""Grey that a decoder leaves where the data of a JPEG end early, from there to the last pixel; a network may take it for road."""


def decompress(data: Any, *, upright: bool = False) -> Image:
    """Decode JPEG, PNG or any other still format that OpenCV reads (sensor_msgs/CompressedImage).

    Args:
        upright: turn a photo as its EXIF says. A camera's calibration is that of the pixels as they are sent.

    Raises:
        FrameError: empty, corrupt or unknown data.
    """
    buffer = np.frombuffer(data, np.uint8)
    flags = cv2.IMREAD_COLOR if upright else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(buffer, flags) if len(buffer) else None
    except cv2.error:  # a header that claims an absurd size
        pixels = None
    if pixels is None:
        raise FrameError(f'compressed image of {len(buffer)} bytes cannot be decoded; expected JPEG or PNG data')
    if buffer[:2].tobytes() == JPEG_START and (pixels[-8:, -8:] == BLANK).all():
        raise FrameError(
            f'JPEG of {len(buffer)} bytes ends before its picture does: the lower right is blank; check the connection of the camera'
        )
    return from_array(np.asarray(pixels, np.uint8), 'bgr8')


def to_rgb(image: Image) -> UInt8:
    """Return uint8 [H, W, 3] RGB at the camera's size; a view when the image already is RGB."""
    code = _LAYOUTS[image.encoding].to_rgb
    return image.pixels if code is None else np.asarray(cv2.cvtColor(image.pixels, code), np.uint8)


def to_network(image: Image, out: UInt8) -> None:
    """Resize and convert one image into `out`, uint8 [H, W, 3] RGB, in the engine's own memory.

    The whole image is stretched to the network's size, whatever its aspect ratio.
    """
    layout = _LAYOUTS[image.encoding]
    pixels, code = image.pixels, layout.to_rgb
    if not layout.resizable:
        pixels, code = to_rgb(image), None
    size = (out.shape[1], out.shape[0])
    pixels = _halved(pixels, size)
    if code is None:
        cv2.resize(pixels, size, dst=out, interpolation=cv2.INTER_LINEAR)
    else:
        cv2.cvtColor(cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR), code, dst=out)


def _halved(pixels: UInt8, size: tuple[int, int]) -> UInt8:
    """Average 2x2 pixels until neither side is to be more than halved: from there bilinear skips no pixel.

    A twentieth of the time of averaging down to the final size at once, for a mean difference of half a grey level.
    """
    while pixels.shape[1] > 2 * size[0] or pixels.shape[0] > 2 * size[1]:
        height, width = (n // 2 if n >= 2 * least else n for n, least in zip(pixels.shape, size[::-1], strict=False))
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return pixels


def jpeg(rgb: UInt8, quality: int) -> bytes:
    """Compress a picture, uint8 [H, W, 3] RGB, with `quality` 0 to 100."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())


def labels_to_size(labels: UInt8, width: int, height: int) -> UInt8:
    """Resize class ids or a mask, uint8 [h, w], to uint8 [height, width] by the nearest pixel centre: no value is new."""
    if labels.shape == (height, width):
        return labels
    return np.asarray(cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def fits(camera: CameraModel, image: Image) -> bool:
    """Say whether a calibration is for images of this size."""
    return (camera.width, camera.height) == (image.width, image.height)


def require_size(camera: CameraModel, *images: npt.NDArray[np.uint8]) -> None:
    """Check that images [h, w] have the camera's size: compiled loops do not check where they read.

    Raises:
        CameraError: one has another.
    """
    for image in images:
        if image.shape != (camera.height, camera.width):
            raise CameraError(
                f'an image is {image.shape} but its camera {(camera.height, camera.width)}; expected one size'
            )
