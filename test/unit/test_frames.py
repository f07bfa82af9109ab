import struct
import zlib

import cv2
import numpy as np
import pytest

from seg_perception import frames
from seg_perception.errors import FrameError

RED, GREEN, BLUE = 200, 100, 50


def bayer(pattern: str, size: int = 16) -> np.ndarray:
    """A mosaic of one colour; the first two letters are the first row's."""
    values = {'r': RED, 'g': GREEN, 'b': BLUE}
    tile = np.array([[values[pattern[0]], values[pattern[1]]], [values[pattern[2]], values[pattern[3]]]], np.uint8)
    return np.tile(tile, (size // 2, size // 2))


def uniform(encoding: str, size: int = 16) -> np.ndarray:
    """Raw bytes [rows, row bytes] of one colour in `encoding`."""
    colours = {
        'rgb8': (RED, GREEN, BLUE),
        'bgr8': (BLUE, GREEN, RED),
        '8UC3': (BLUE, GREEN, RED),
        'rgba8': (RED, GREEN, BLUE, 9),
        'bgra8': (BLUE, GREEN, RED, 9),
    }
    if encoding in colours:
        return np.tile(np.array(colours[encoding], np.uint8), (size, size))
    if encoding.startswith('bayer'):
        return bayer(encoding[6:10], size)
    return yuv(encoding, size)


def yuv(encoding: str, size: int = 16) -> np.ndarray:
    """One colour by ITU-R BT.601 limited range, the matrix OpenCV uses for packed and planar YUV."""
    y = round(16 + (65.738 * RED + 129.057 * GREEN + 25.064 * BLUE) / 256)
    u = round(128 + (-37.945 * RED - 74.494 * GREEN + 112.439 * BLUE) / 256)
    v = round(128 + (112.439 * RED - 94.154 * GREEN - 18.285 * BLUE) / 256)
    packed = {'yuv422': (u, y, v, y), 'uyvy': (u, y, v, y), 'yuv422_yuy2': (y, u, y, v), 'yuyv': (y, u, y, v)}
    if encoding in packed:
        return np.tile(np.array(packed[encoding], np.uint8), (size, size // 2))
    chroma = np.tile(np.array((u, v) if encoding == 'nv12' else (v, u), np.uint8), (size // 2, size // 2))
    return np.vstack([np.full((size, size), y, np.uint8), chroma])


@pytest.mark.parametrize('encoding', frames.ENCODINGS)
@pytest.mark.parametrize('padding', [0, 7])
def test_every_encoding_gives_the_right_colour_with_and_without_row_padding(encoding: str, padding: int) -> None:
    expected = [RED, GREEN, BLUE]
    if encoding in ('mono8', '8UC1'):
        rows, expected = np.full((16, 16), 77, np.uint8), [77] * 3
    else:
        rows = uniform(encoding)
    step = rows.shape[1] + padding
    padded = np.full((rows.shape[0], step), 255, np.uint8)
    padded[:, : rows.shape[1]] = rows
    image = frames.view(padded.tobytes(), 16, 16, step, encoding)
    assert np.abs(frames.to_rgb(image).astype(int)[4:-4, 4:-4] - expected).max() <= 2
    out = np.zeros((8, 12, 3), np.uint8)
    frames.to_network(image, out)
    assert np.abs(out[2:-2, 3:-3].astype(int) - expected).max() <= 2


def test_halving_mixes_every_pixel():
    stripes = np.zeros((60, 96, 3), np.uint8)
    stripes[:, ::2] = 200
    for height in (20, 30, 45):  # one side halved, or both
        out = np.empty((height, 48, 3), np.uint8)
        frames.to_network(frames.from_array(stripes, 'rgb8'), out)
        assert np.abs(out.astype(int) - 100).max() <= 1


def test_red_left_and_blue_right_stay_there() -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, :30, 2] = 255
    pixels[:, 30:, 0] = 255
    out = np.zeros((20, 30, 3), np.uint8)
    frames.to_network(frames.from_array(pixels, 'bgr8'), out)
    assert out[10, 3].tolist() == [255, 0, 0]
    assert out[10, 27].tolist() == [0, 0, 255]


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        ((4, 4, 12, 'bgr16'), 'bgr16.*not supported'),
        ((0, 4, 12, 'bgr8'), '0x4'),
        ((4, 0, 12, 'bgr8'), '4x0'),
        ((4, 4, 11, 'bgr8'), 'step is 11.*at least 12'),
        ((4, 5, 12, 'bgr8'), '48 bytes; expected 60'),
        ((3, 4, 12, 'nv12'), 'even size'),
        ((3, 4, 12, 'yuyv'), 'even size'),
    ],
)
def test_a_bad_image_is_explained(arguments: tuple[int, int, int, str], said: str) -> None:
    with pytest.raises(FrameError, match=said):
        frames.view(bytes(48), *arguments)


def test_the_last_row_needs_no_padding() -> None:
    image = frames.view(bytes(range(3 * 8 + 6)), 2, 4, 8, 'bgr8')
    assert image.pixels.shape == (4, 2, 3)
    assert image.pixels[3, 1].tolist() == [27, 28, 29]


def test_compressed_images() -> None:
    rgb = np.full((8, 8, 3), (10, 20, 200), np.uint8)
    png = cv2.imencode('.png', rgb)[1].tobytes()
    assert frames.to_rgb(frames.decompress(png))[0, 0].tolist() == [200, 20, 10]
    absurd = png[:16] + (60000).to_bytes(4, 'big') * 2 + png[24:]
    absurd = absurd[:29] + zlib.crc32(absurd[12:29]).to_bytes(4, 'big') + absurd[33:]
    for bad in (b'', b'not a picture', png[:20], absurd):
        with pytest.raises(FrameError, match=f'{len(bad)} bytes cannot be decoded'):
            frames.decompress(bad)


@pytest.mark.parametrize('share', [0.3, 0.6, 0.95])
def test_a_jpeg_whose_data_end_early_is_refused(share: float) -> None:
    """A camera that loses data closes the picture properly; decoders fill what is missing with grey and say nothing."""
    rgb = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    jpeg = cv2.imencode('.jpg', rgb)[1].tobytes()
    cut = jpeg[: int(len(jpeg) * share)] + jpeg[-2:]
    with pytest.raises(FrameError, match='ends before its picture does'):
        frames.decompress(cut)
    assert frames.decompress(jpeg).pixels.shape == (96, 128, 3)
    rgb[-8:, -8:] = 128  # a lossless picture may be as grey as it likes
    frames.decompress(cv2.imencode('.png', rgb)[1].tobytes())


def test_a_cameras_pixels_stay_where_its_calibration_has_them_whatever_exif_says() -> None:
    rgb = np.zeros((16, 16, 3), np.uint8)
    rgb[:8] = 255
    jpeg = cv2.imencode('.jpg', rgb)[1].tobytes()
    upside_down = struct.pack('<4sIHHHIII', b'II*\0', 8, 1, 0x0112, 3, 1, 3, 0)
    turned = jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(upside_down) + 8) + b'Exif\0\0' + upside_down + jpeg[2:]
    assert frames.decompress(turned).pixels[0, 0].tolist() == [255, 255, 255]
    assert frames.decompress(turned, upright=True).pixels[0, 0].tolist() == [0, 0, 0]


def test_labels_are_resized_without_inventing_classes() -> None:
    labels = np.array([[0, 5], [3, 1]], np.uint8)
    large = frames.labels_to_size(labels, 4, 4)
    assert large.tolist() == [[0, 0, 5, 5], [0, 0, 5, 5], [3, 3, 1, 1], [3, 3, 1, 1]]
    assert frames.labels_to_size(large, 2, 2).tolist() == labels.tolist()
