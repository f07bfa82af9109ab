"""Procedural pictures for the scene: enough for a person, and for a network trained on streets, to recognise it."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.scene.types import Image

FACADE_PX_PER_M = 25
Color = tuple[int, int, int]


def noise(rng: np.random.Generator, height: int, width: int, grain: int, amplitude: float) -> npt.NDArray[np.float32]:
    """Smooth float32 noise [height, width] with features of `grain` pixels."""
    small = rng.normal(0.0, amplitude, (height // grain + 2, width // grain + 2)).astype(np.float32)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def facade(rng: np.random.Generator, width_m: float, height_m: float) -> Image:
    """A house front with rows of windows, RGB."""
    base = np.array(
        [(168, 142, 120), (190, 182, 168), (150, 96, 78), (205, 196, 178), (132, 128, 126)][rng.integers(5)]
    )
    height, width = (max(8, round(v * FACADE_PX_PER_M)) for v in (height_m, width_m))
    wall = base + noise(rng, height, width, 3, 4.0)[..., None] + noise(rng, height, width, 40, 7.0)[..., None]
    image = np.ascontiguousarray(np.clip(wall, 0, 255).astype(np.uint8))
    storey, bay = round(3.0 * FACADE_PX_PER_M), round(rng.uniform(2.0, 3.2) * FACADE_PX_PER_M)
    glass, frame = int(rng.integers(40, 90)), tuple(int(v) for v in np.clip(base + 35, 0, 255))
    for bottom in range(height, storey // 2, -storey):
        for left in range(bay // 4, width - bay // 2, bay):
            top_left = (left, bottom - round(storey * 0.78))
            size = (
                left + bay // 2,
                bottom - round(storey * (0.02 if bottom == height and rng.random() < 0.3 else 0.28)),
            )
            cv2.rectangle(image, top_left, size, frame, -1)
            shade = glass + int(rng.integers(-15, 25))
            cv2.rectangle(
                image,
                (top_left[0] + 3, top_left[1] + 3),
                (size[0] - 3, size[1] - 3),
                (shade, shade + 8, shade + 16),
                -1,
            )
            cv2.line(image, (left + bay // 4, top_left[1]), (left + bay // 4, size[1]), frame, 2)
    return image


def plain(rng: np.random.Generator, color: Color, width: int = 64, height: int = 64, amplitude: float = 6.0) -> Image:
    """A colour with grain, RGB."""
    grain = np.asarray(color) + noise(rng, height, width, 2, amplitude)[..., None]
    return np.asarray(np.clip(grain, 0, 255), np.uint8)


def car_side(color: Color) -> Image:
    """Lower body of a car from the side: sill, wheels, door gaps. RGB."""
    image = np.full((84, 420, 3), color, np.uint8)
    image[:30] = np.clip(np.asarray(color) * 1.15, 0, 255)
    image[66:] = (28, 28, 30)
    for x in (150, 215, 285):
        cv2.line(image, (x, 4), (x, 64), tuple(int(v * 0.6) for v in color), 2)
    for x in (75, 345):
        cv2.circle(image, (x, 54), 33, (25, 25, 27), -1, cv2.LINE_AA)
        cv2.circle(image, (x, 54), 17, (130, 132, 136), -1, cv2.LINE_AA)
    return image


def car_end(color: Color, rear: bool) -> Image:
    """Lower body of a car from the front or the back: lamps, plate, bumper. RGB."""
    image = np.full((84, 180, 3), color, np.uint8)
    image[60:] = (40, 40, 42)
    image[78:] = (12, 12, 12)
    lamp = (190, 22, 20) if rear else (238, 238, 228)
    for x in (6, 146):
        cv2.rectangle(image, (x, 14), (x + 28, 32), lamp, -1)
    cv2.rectangle(image, (66, 36), (114, 50), (225, 215, 90) if rear else (235, 235, 230), -1)
    for x in (14, 138):
        cv2.rectangle(image, (x, 66), (x + 28, 84), (15, 15, 16), -1)
    return image


def cabin(color: Color, width: int) -> Image:
    """Windows between pillars. RGB."""
    image = np.full((56, width, 3), color, np.uint8)
    image[8:50, 10:-10] = (48, 56, 64)
    image[8:26, 10:-10] = (74, 86, 96)
    if width > 200:
        image[:, width // 2 - 5 : width // 2 + 5] = color
    return image


def crown(rng: np.random.Generator) -> Image:
    """A tree's crown, RGBA."""
    size = 192
    picture = np.zeros((size, size, 4), np.uint8)
    mask = np.zeros((size, size), np.uint8)
    for _ in range(26):
        angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.29) * size
        centre = (round(size / 2 + radius * np.cos(angle)), round(size / 2 + radius * np.sin(angle)))
        cv2.circle(mask, centre, int(rng.integers(18, 36)), 255, -1)
    ragged = noise(rng, size, size, 4, 40.0) + cv2.GaussianBlur(mask, (15, 15), 0)
    picture[..., 3] = np.where(ragged > 120, 255, 0)
    light = np.linspace(1.25, 0.7, size)[:, None] + noise(rng, size, size, 5, 0.16) + noise(rng, size, size, 24, 0.1)
    picture[..., :3] = np.clip(np.array([72, 98, 46]) * light[..., None], 0, 255)
    return picture
