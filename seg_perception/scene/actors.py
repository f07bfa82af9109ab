"""Everything that stands on the ground: houses, trees, poles, parked and moving vehicles, people."""

from __future__ import annotations

import math

import numpy as np

from seg_perception.scene import textures
from seg_perception.scene.ground import HALF_WIDTH_M, LANE_M, Layout
from seg_perception.scene.types import OTHER, PERSON, VEHICLE, Float, Image, Part, Solid

CAR_COLORS = (
    (168, 30, 34),
    (34, 62, 122),
    (196, 198, 202),
    (40, 42, 46),
    (226, 226, 222),
    (70, 96, 74),
    (120, 122, 128),
)
WEAR = ((42, 48, 66), (118, 38, 36), (64, 86, 62), (150, 130, 92), (36, 36, 40))


def rectangle(length: float, width: float, shift: float = 0.0) -> Float:
    """Corners of a box outline centred on the frame's origin, counter-clockwise from the rear right."""
    x, y = length / 2, width / 2
    return np.array([[-x + shift, -y], [x + shift, -y], [x + shift, y], [-x + shift, y]])


def _round(radius: float) -> Float:
    angle = np.arange(8) * math.pi / 4
    return radius * np.column_stack([np.cos(angle), np.sin(angle)])


def car(
    rng: np.random.Generator, station: float, offset: float, yaw: float, speed: float = 0.0, drift: float = 0.0
) -> Solid:
    """A passenger car, or now and then a van."""
    color = CAR_COLORS[rng.integers(len(CAR_COLORS))]
    if rng.random() < 0.18:
        length, width, height = 5.6, 2.0, 2.4
        side = np.vstack([textures.cabin(color, 420), textures.car_side(color)])
        ends = [np.vstack([textures.cabin(color, 180), textures.car_end(color, rear)]) for rear in (True, False)]
        van = Part(rectangle(length, width), 0.0, height, (side, ends[1], side, ends[0]), color)
        return Solid(VEHICLE, (van,), station, offset, yaw, speed, drift)
    side = textures.car_side(color)
    body = Part(
        rectangle(4.4, 1.8),
        0.0,
        0.84,
        (side, textures.car_end(color, False), side, textures.car_end(color, True)),
        color,
    )
    window, screen = textures.cabin(color, 300), textures.cabin(color, 150)
    roof = Part(rectangle(2.5, 1.56, -0.25), 0.84, 1.46, (window, screen, window, screen), color)
    return Solid(VEHICLE, (body, roof), station, offset, yaw, speed, drift)


def person(rng: np.random.Generator, station: float, offset: float, speed: float, drift: float = 0.0) -> Solid:
    """Somebody standing or walking."""
    legs, coat = (textures.plain(rng, WEAR[rng.integers(len(WEAR))], 8, 16) for _ in range(2))
    skin = textures.plain(rng, (196, 154, 126), 8, 8)
    tall = rng.uniform(1.6, 1.85)
    parts = (
        Part(_round(0.2), 0.0, tall * 0.48, (legs,) * 8, (60, 60, 60)),
        Part(_round(0.23), tall * 0.48, tall * 0.86, (coat,) * 8, (90, 80, 76)),
        Part(_round(0.11), tall * 0.86, tall, (skin,) * 8, (70, 52, 40)),
    )
    return Solid(PERSON, parts, station, offset, 0.0, speed, drift)


def _pole(rng: np.random.Generator, station: float, offset: float) -> Solid:
    metal = textures.plain(rng, (96, 100, 104), 8, 64)
    return Solid(OTHER, (Part(_round(0.09), 0.0, 6.0, (metal,) * 8, (90, 90, 90)),), station, offset, 0.0)


def _tree(rng: np.random.Generator, station: float, offset: float) -> Solid:
    bark = textures.plain(rng, (86, 70, 54), 16, 64, 14.0)
    trunk = Part(_round(0.2), 0.0, 4.6, (bark,) * 8, (80, 66, 50))
    radius = rng.uniform(1.7, 2.3)
    return Solid(OTHER, (trunk,), station, offset, 0.0, crown=textures.crown(rng), crown_m=(3.4 + radius, radius))


def _box(
    station: float, offset: float, length: float, width: float, height: float, side: Image, yaw: float = 0.0
) -> Solid:
    return Solid(
        OTHER, (Part(rectangle(length, width), 0.0, height, (side,) * 4, (110, 104, 100)),), station, offset, yaw
    )


def _houses(rng: np.random.Generator, layout: Layout, start: float, end: float) -> list[Solid]:
    solids = []
    fronts = [textures.facade(rng, 14.0, h) for h in (6.0, 9.0, 12.0, 15.0) for _ in range(2)]
    hedge = textures.plain(rng, (66, 88, 44), 256, 48, 16.0)
    depth = 8.0
    for side in (-1, 1):
        station = start
        while station < end:
            length = float(rng.uniform(8.0, 16.0))
            middle = station + length / 2
            street = next(
                (j for j in layout.junctions_m if abs(middle - j) < layout.side_half_m + 2.0 + length / 2), None
            )
            if street is not None:
                station = street + layout.side_half_m + 2.1
                solids.append(_box(street, side * (HALF_WIDTH_M - 2.0), 16.0, 3.0, 9.0, fronts[2]))
                continue
            front = fronts[rng.integers(len(fronts))]
            height = front.shape[0] / textures.FACADE_PX_PER_M
            back = layout.house_m + float(rng.uniform(0.1, 0.8))
            solids.append(_box(middle, side * (back + depth / 2), length, depth, height, front))
            gap = float(rng.choice([0.3, 0.3, 4.0]))
            if gap > 1.0 and not layout.near_junction(station + length + gap / 2, gap / 2 + 2.0):
                solids.append(_box(station + length + gap / 2, side * (back + 1.0), gap - 0.2, 0.6, 1.9, hedge))
            station += length + gap
    for station in (start - 3.0, end + 3.0):
        solids.append(_box(station, 0.0, 6.0, 2 * layout.house_m, 9.0, fronts[4]))
    return solids


def _street_furniture(rng: np.random.Generator, layout: Layout, start: float, end: float) -> list[Solid]:
    solids = []
    for side in (-1, 1):
        for station in np.arange(start + 6.0, end - 6.0, rng.uniform(13.0, 19.0)).tolist():
            if not layout.near_junction(station, 2.5):
                make = _tree if rng.random() < 0.6 else _pole
                solids.append(make(rng, station, side * (layout.half_road_m + 0.9)))
    return solids


def static_solids(rng: np.random.Generator, layout: Layout, start: float, end: float) -> list[Solid]:
    """Houses, hedges, trees, poles and parked cars between two stations."""
    solids = _houses(rng, layout, start, end) + _street_furniture(rng, layout, start, end)
    if layout.parking_m:
        for side in (-1, 1):
            for station in np.arange(start + 10.0, end - 10.0, 6.5).tolist():
                if rng.random() < 0.45 and not layout.near_junction(station, 9.0):
                    yaw = 0.0 if side < 0 else math.pi
                    solids.append(car(rng, station, side * (layout.half_road_m - 1.05), yaw))
    return solids


def moving_solids(rng: np.random.Generator, layout: Layout, length: float, ego_speed: float) -> list[Solid]:
    """Traffic and people for a drive of `length` metres that starts at station 0."""
    solids = []
    lane = -LANE_M / 2 - (layout.lanes - 1) * LANE_M
    duration = length / ego_speed
    for j in layout.junctions_m:
        if j > 30 and rng.random() < 0.7:  # from the left, passing some 15 to 25 m in front of the vehicle
            meet = (j - rng.uniform(16.0, 24.0)) / ego_speed
            speed = 6.0
            solids.append(car(rng, j - 1.6, lane + speed * meet, -math.pi / 2, 0.0, -speed))
        if rng.random() < 0.7:  # somebody on the zebra, gone before the vehicle arrives
            crossing = j - layout.side_half_m - 3.5
            solids.append(person(rng, crossing, lane - 1.2 * (crossing - 14.0) / ego_speed + 1.5, 0.0, 1.2))
    solids.append(car(rng, float(rng.uniform(16.0, 26.0)), lane, 0.0, ego_speed * float(rng.uniform(0.97, 1.03))))
    for start in np.arange(25.0, length + 8.0 * duration, rng.uniform(35.0, 50.0)):
        speed = -float(rng.uniform(7.0, 9.0))
        solids.append(car(rng, float(start), -lane if layout.lanes == 1 else LANE_M / 2, math.pi, speed))
    for _ in range(int(length / 14)):
        side = rng.choice([-1, 1])
        station, pace = float(rng.uniform(-10, length + 40)), float(rng.choice([-1.2, 0.0, 1.3]))
        solids.append(person(rng, station, side * (layout.half_road_m + float(rng.uniform(1.6, 2.3))), pace))
    return solids
