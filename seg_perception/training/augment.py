"""Random training crops: geometry, light, sensor and foreign objects. All randomness comes from the generator given."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.labels import VOID
from seg_perception.training.config import AugmentConfig
from seg_perception.training.datasets import Sample

FOREIGN = 254
"""Target of a pasted object: any class that is not ground, none of them with certainty."""

UInt8 = npt.NDArray[np.uint8]


def crop(
    sample: Sample,
    config: AugmentConfig,
    network_size: tuple[int, int],
    size: tuple[int, int],
    center: tuple[float, float] | None,
    rng: np.random.Generator,
) -> Sample:
    """Cut a randomly zoomed, stretched and flipped crop; what lies outside the frame is black and void.

    Args:
        network_size: (height, width) of the whole frame at zoom 1.
        size: (height, width) of the crop.
        center: (x, y) of a pixel of the frame to keep near the middle; None for anywhere.
    """
    h, w = sample.target.shape
    zoom = np.exp(rng.uniform(np.log(config.scale_min), np.log(config.scale_max)))
    stretch = np.exp(rng.uniform(-0.5, 0.5) * np.log(config.aspect))
    sx, sy = network_size[1] / w * zoom * stretch, network_size[0] / h * zoom / stretch
    cw, ch = size[1] / sx, size[0] / sy
    if center is None:
        x0, y0 = _start(w, cw, rng), _start(h, ch, rng)
    else:
        x0 = center[0] - cw * rng.uniform(0.25, 0.75)
        y0 = center[1] - ch * rng.uniform(0.25, 0.75)
        x0, y0 = _clamp(x0, w - cw), _clamp(y0, h - ch)
    matrix = np.array([[sx, 0, -x0 * sx + 0.5 * sx - 0.5], [0, sy, -y0 * sy + 0.5 * sy - 0.5]])
    if rng.random() < config.flip:
        matrix[0] = -matrix[0]
        matrix[0, 2] += size[1] - 1
    image = sample.image
    if min(sx, sy) < 0.75:
        # warpAffine samples four pixels only: average first what it would skip.
        k = 1 / max(sx, sy)
        image = cv2.blur(image, (max(1, round(k)), max(1, round(k))))
    out = (size[1], size[0])
    return Sample(
        np.asarray(cv2.warpAffine(image, matrix, out, flags=cv2.INTER_LINEAR), np.uint8),
        np.asarray(cv2.warpAffine(sample.target, matrix, out, flags=cv2.INTER_NEAREST, borderValue=VOID), np.uint8),
    )


def _start(length: float, window: float, rng: np.random.Generator) -> float:
    spare = length - window
    return float(rng.uniform(0, spare)) if spare > 0 else float(spare / 2)


def _clamp(start: float, spare: float) -> float:
    return min(max(start, 0.0), spare) if spare > 0 else spare / 2


def photometric(image: UInt8, config: AugmentConfig, rng: np.random.Generator) -> UInt8:
    """Change colour, light and sensor quality of a uint8 RGB image."""
    if rng.random() < config.shadow:
        image = _shadow(image, rng)
    if rng.random() < config.color:
        image = _saturate(image, rng.uniform(0.3, 1.5))
        image = _tone(image, rng.uniform(0.7, 1.45), rng.uniform(0.65, 1.35), rng.uniform(-25, 25), 0.1, rng)
    if rng.random() < config.dark:
        image = _tone(image, rng.uniform(1.0, 1.9), rng.uniform(0.35, 0.95), rng.uniform(-12, 8), 0.16, rng)
        image = _saturate(image, rng.uniform(0.3, 1.1))
        if rng.random() < 0.5:
            image = _fade_down(image, rng.uniform(0.2, 0.9))
        if rng.random() < 0.3:
            image = _lamps(image, rng)
    if rng.random() < config.blur:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.6)), np.uint8)
    if rng.random() < config.noise:
        image = _noise(image, rng.uniform(2, 14), rng)
    if rng.random() < config.jpeg:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))]
        image = np.asarray(cv2.imdecode(cv2.imencode('.jpg', image, quality)[1], cv2.IMREAD_COLOR), np.uint8)
    return image


def _tone(image: UInt8, gamma: float, gain: float, offset: float, cast: float, rng: np.random.Generator) -> UInt8:
    """Apply gamma, gain, offset and a random colour cast through one table."""
    gains = gain * np.exp(rng.uniform(-cast, cast, 3))
    level = np.linspace(0, 1, 256)[:, None] ** gamma * 255
    table = np.clip(level * gains + offset, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table[:, None, :]), np.uint8)


def _saturate(image: UInt8, amount: float) -> UInt8:
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.addWeighted(image, amount, gray, 1 - amount, 0), np.uint8)


def _noise(image: UInt8, sigma: float, rng: np.random.Generator) -> UInt8:
    """Add Gaussian noise; half the time coarse, as demosaicing and denoising leave it."""
    h, w = image.shape[:2]
    coarse = rng.random() < 0.5
    shape = (h // 2, w // 2, 3) if coarse else (h, w, 3)
    field = rng.standard_normal(shape, np.float32) * np.float32(sigma)
    if coarse:
        field = cv2.resize(field, (w, h))
    return np.asarray(cv2.add(image, field, dtype=cv2.CV_8U), np.uint8)


def _shadow(image: UInt8, rng: np.random.Generator) -> UInt8:
    """Darken (or lighten) a soft-edged polygon: an edge on the road alone does not make an object."""
    mask = cv2.GaussianBlur(random_shape(image.shape[:2], rng, 0.15, 0.7), (0, 0), rng.uniform(1, 8))
    gain = 1 + mask.astype(np.float32) / 255 * np.float32(rng.uniform(-0.6, 0.25))
    return np.asarray(np.clip(image * gain[..., None], 0, 255), np.uint8)


def _fade_down(image: UInt8, amount: float) -> UInt8:
    """Darken towards the bottom: at dusk the ground loses its light before the sky does."""
    gain = np.linspace(1, 1 - amount, image.shape[0], dtype=np.float32)[:, None, None]
    return np.asarray(image * gain, np.uint8)


def _lamps(image: UInt8, rng: np.random.Generator) -> UInt8:
    """Add a few glowing spots, as headlights and street lamps have at dusk."""
    h, w = image.shape[:2]
    glow = np.zeros((h, w, 3), np.uint8)
    for _ in range(int(rng.integers(1, 6))):
        center = (int(rng.integers(w)), int(rng.integers(h * 3 // 4)))
        color = [int(c) for c in 255 - rng.integers(0, 60, 3) * np.array([0, 1, 2])]
        cv2.circle(glow, center, int(rng.integers(2, 9)), color, -1)
    soft = cv2.addWeighted(cv2.GaussianBlur(glow, (0, 0), rng.uniform(4, 12)), 2.0, glow, 0.8, 0)
    return np.asarray(cv2.add(image, soft), np.uint8)


def random_shape(shape: tuple[int, ...], rng: np.random.Generator, low: float, high: float) -> UInt8:
    """Return a mask, 0 or 255, of a random star-shaped polygon whose size is `low`..`high` of the image's height."""
    h, w = shape[:2]
    count = int(rng.integers(3, 12))
    angle = np.sort(rng.uniform(0, 2 * np.pi, count))
    radius = h * np.exp(rng.uniform(np.log(low), np.log(high))) / 2 * rng.uniform(0.4, 1.0, count)
    stretch = np.exp(rng.uniform(-0.7, 0.7))
    x = rng.uniform(0, w) + radius * np.cos(angle) * stretch
    y = rng.uniform(0, h) + radius * np.sin(angle) / stretch
    mask = np.zeros((h, w), np.uint8)
    cv2.fillPoly(mask, [np.stack([x, y], 1).round().astype(np.int32)], 255)
    return mask


def _texture(shape: tuple[int, ...], other: UInt8, rng: np.random.Generator) -> UInt8:
    """Return a random surface: plain, blotched at a random grain, or a piece of another frame with shuffled colours."""
    h, w = shape[:2]
    kind = rng.random()
    if kind < 0.35:
        source = cv2.resize(other, (w, h))[:: int(rng.choice([1, -1])), ::-1]
        return np.ascontiguousarray(source[..., rng.permutation(3)])
    base = rng.uniform(0, 255, 3)
    if kind < 0.5:
        field = np.linspace(-1, 1, h)[:, None, None] * np.ones((1, w, 1)) * rng.uniform(-60, 60)
    else:
        grain = int(rng.integers(2, 40))
        field = cv2.resize(rng.standard_normal((grain, grain, 3)), (w, h)) * rng.uniform(5, 70)
    return np.clip(base + field, 0, 255).astype(np.uint8)


def paste_foreign(sample: Sample, other: UInt8, ground: npt.NDArray[np.bool_], rng: np.random.Generator) -> Sample:
    """Paste one to three objects of no class, each centred on ground.

    Args:
        other: another frame, a source of texture.
        ground: bool [256], True for target ids that are ground.
    """
    image, target = sample.image.copy(), sample.target.copy()
    rows, columns = np.nonzero(ground[target])
    if len(rows) == 0:
        return sample
    h, w = target.shape
    for _ in range(int(rng.integers(1, 4))):
        mask = random_shape((h, w), rng, 0.04, 0.45)
        ys, xs = np.nonzero(mask)
        if len(ys) == 0:
            continue
        pick = int(rng.integers(len(rows)))
        shift = np.array([[1, 0, columns[pick] - xs.mean()], [0, 1, rows[pick] - ys.mean()]])
        mask = cv2.warpAffine(mask, shift, (w, h), flags=cv2.INTER_NEAREST)
        alpha = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 1.5)).astype(np.float32)[..., None] / 255
        texture = _texture((h, w), other, rng)
        image = (image + (texture.astype(np.float32) - image) * alpha).astype(np.uint8)
        target[mask > 0] = FOREIGN
    return Sample(image, target)


def cover_with_hood(sample: Sample, rng: np.random.Generator) -> Sample:
    """Cover the bottom with a curved, shining hood, as cameras behind a windscreen see their own vehicle."""
    h, w = sample.target.shape
    x = np.linspace(-1, 1, w) - rng.uniform(-1, 1)
    top = h * (1 - rng.uniform(0.02, 0.16)) + h * rng.uniform(0, 0.12) * x**2
    depth = (np.arange(h)[:, None] - top[None]) / h
    light = np.exp(-((depth - rng.uniform(0, 0.06)) ** 2) / rng.uniform(0.0002, 0.004)) * rng.uniform(0, 220)
    paint = np.clip(rng.uniform(0, 160) * rng.uniform(0.7, 1, 3) + light[..., None], 0, 255)
    inside = depth > 0
    image = np.where(inside[..., None], paint, sample.image).astype(np.uint8)
    return Sample(image, np.where(inside, VOID, sample.target).astype(np.uint8))
