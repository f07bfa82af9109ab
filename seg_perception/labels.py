"""Classes of a model: id, name, colour, role and whether the class is flat ground.

No class id is written in code. Everything that needs to know what an id means asks the
`LabelMap` that came with the model.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seg_perception.errors import ModelError

VOID = 255
"""Label value that never counts: unlabelled truth, or a pixel without a prediction."""


class Role(str, Enum):
    """What a class means to the vehicle."""

    ROAD = 'road'
    LANE = 'lane'
    OBSTACLE = 'obstacle'
    OTHER = 'other'


MASKS = {'road': Role.ROAD, 'lane': Role.LANE, 'obstacle': Role.OBSTACLE}
"""Roles that are published as a mask of their own, by the name of the topic."""


@dataclass(frozen=True, slots=True)
class LabelClass:
    """One class. `ground` marks flat surfaces that the camera sees across (road, pavement, grass)."""

    id: int
    name: str
    color: tuple[int, int, int]
    role: Role
    ground: bool

    def __post_init__(self) -> None:
        if not 0 <= self.id < VOID:
            raise ModelError(f'class {self.name!r} has id {self.id}; expected 0..{VOID - 1} ({VOID} is void)')
        if len(self.color) != 3 or not all(0 <= c <= 255 for c in self.color):
            raise ModelError(f'class {self.name!r} has colour {self.color}; expected three values 0..255 (R, G, B)')


@dataclass(frozen=True, slots=True)
class LabelMap:
    """The classes of one model, ids 0..N-1 in order."""

    classes: tuple[LabelClass, ...]

    def __post_init__(self) -> None:
        ids = [c.id for c in self.classes]
        if ids != list(range(len(ids))) or not ids:
            raise ModelError(f'class ids are {ids}; expected 0..N-1 in order, each once')
        names = [c.name for c in self.classes]
        if len(set(names)) != len(names):
            raise ModelError(f'class names are not unique: {names}; give each class its own name')

    @classmethod
    def from_dicts(cls, entries: Iterable[Mapping[str, Any]]) -> LabelMap:
        """Build from the `classes` list of a model's metadata.

        Raises:
            ModelError: a key is missing or a value is not usable.
        """
        classes = []
        for entry in entries:
            try:
                r, g, b = (int(c) for c in entry['color'])
                classes.append(
                    LabelClass(
                        id=int(entry['id']),
                        name=str(entry['name']),
                        color=(r, g, b),
                        role=Role(entry['role']),
                        ground=bool(entry['ground']),
                    )
                )
            except (KeyError, TypeError, ValueError) as error:
                raise ModelError(
                    f'class entry {dict(entry)} is not usable ({error!r}); expected id, name, '
                    f'color [r, g, b], role (one of {[r.value for r in Role]}) and ground'
                ) from error
        return cls(tuple(sorted(classes, key=lambda c: c.id)))

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the JSON form that `from_dicts` reads."""
        return [
            {'id': c.id, 'name': c.name, 'color': list(c.color), 'role': c.role.value, 'ground': c.ground}
            for c in self.classes
        ]

    def __len__(self) -> int:
        return len(self.classes)

    def ids(self, *roles: Role) -> list[int]:
        """Return the ids of all classes that have one of `roles`."""
        return [c.id for c in self.classes if c.role in roles]

    def mask_lut(self, *roles: Role) -> npt.NDArray[np.uint8]:
        """Return a uint8 [256] table for cv2.LUT: 255 for classes of `roles`, 0 for all else, void included."""
        lut = np.zeros(256, np.uint8)
        lut[self.ids(*roles)] = 255
        return lut

    def ground_lut(self) -> npt.NDArray[np.bool_]:
        """Return a bool [256] table: True for flat classes that can be seen across."""
        lut = np.zeros(256, np.bool_)
        lut[[c.id for c in self.classes if c.ground]] = True
        return lut

    def drivable_lut(self) -> npt.NDArray[np.bool_]:
        """Return a bool [256] table: True for road and lane markings."""
        return self.mask_lut(Role.ROAD, Role.LANE) > 0

    def palette(self) -> npt.NDArray[np.uint8]:
        """Return a uint8 [256, 3] RGB table; void and unused ids are black."""
        table = np.zeros((256, 3), np.uint8)
        for c in self.classes:
            table[c.id] = c.color
        return table


DEFAULT_LABELS = LabelMap(
    (
        LabelClass(0, 'road', (128, 64, 128), Role.ROAD, True),
        LabelClass(1, 'lane_marking', (255, 255, 255), Role.LANE, True),
        LabelClass(2, 'pavement', (244, 35, 232), Role.OTHER, True),
        LabelClass(3, 'vehicle', (0, 0, 142), Role.OBSTACLE, False),
        LabelClass(4, 'person', (220, 20, 60), Role.OBSTACLE, False),
        LabelClass(5, 'other', (70, 70, 70), Role.OTHER, False),
    )
)
"""Classes of the shipped models and of the synthetic scenes. Running code reads the model's own."""


def read_class_table(path: Path) -> list[dict[str, str]]:
    """Read a `classes.csv` (columns id, name, role; further columns are kept).

    Raises:
        ModelError: the file is missing or no text, lacks one of the columns, an id that is no number, or an
            id or a name twice.
    """
    try:
        with path.open(newline='', encoding='utf-8-sig') as file:  # spreadsheets begin it with a byte order mark
            rows = list(csv.DictReader(file, skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, 'strerror', None) or error
        raise ModelError(f'{path}: cannot read the class table ({reason}); give a CSV with id, name, role') from error
    missing = {'id', 'name', 'role'} - set(rows[0] if rows else ())
    if missing:
        raise ModelError(f'{path}: the class table lacks {sorted(missing)}; expected columns id, name, role')
    odd = [row['name'] for row in rows if not str(row['id']).strip().isdecimal()]
    if odd:
        raise ModelError(f'{path}: class {", ".join(map(repr, odd))} has no number as its id; expected 0..255')
    for column in ('id', 'name'):
        values = [str(row[column]) for row in rows]
        twice = sorted({v for v in values if values.count(v) > 1})
        if twice:
            raise ModelError(f'{path}: {column} {", ".join(twice)} is there more than once; give each class its own')
    return rows
