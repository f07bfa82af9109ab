"""Labelled images with their own class table, as the truth for a model of other classes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.errors import DataError, ModelError
from seg_perception.io.recording import IMAGE_SUFFIXES
from seg_perception.labels import VOID, LabelMap, Role, read_class_table
from seg_perception.training.mapping import read_mapping

UInt8 = npt.NDArray[np.uint8]
VOID_ROLE = 'void'


class TruthClass(NamedTuple):
    """One row of a `classes.csv`."""

    id: int
    name: str
    roles: frozenset[Role]
    """Roles a pixel of the class may have: one, several ('road+lane'), or none for void."""


class TruthTable(NamedTuple):
    """All classes of a labelled data set."""

    path: Path
    classes: tuple[TruthClass, ...]

    def lut(self) -> UInt8:
        """Return a uint8 [256] table from ids to rows of `classes`; void and unknown ids become VOID."""
        table = np.full(256, VOID, np.uint8)
        for row, entry in enumerate(self.classes):
            if entry.roles:
                table[entry.id] = row
        return table

    def rows(self, *roles: Role) -> npt.NDArray[np.bool_] | None:
        """Return bool [rows]: which classes have one of `roles` for certain; None when for some it is open."""
        wanted = frozenset(roles)
        inside = [bool(c.roles) and c.roles <= wanted for c in self.classes]
        touching = [bool(c.roles & wanted) for c in self.classes]
        return np.array(inside) if inside == touching else None


def read_truth_table(path: Path) -> TruthTable:
    """Read a class table with roles.

    Raises:
        ModelError: missing, without the columns id, name, role, or with a role that is not known.
    """
    classes = []
    for row in read_class_table(path):
        try:
            words = row['role'].strip().split('+')
            roles = frozenset() if words == [VOID_ROLE] else frozenset(Role(word) for word in words)
            index = int(row['id'])
        except (ValueError, AttributeError) as error:
            raise ModelError(
                f'{path}: class {row["name"]!r} has id {row["id"]!r} and role {row["role"]!r}; expected a number and '
                f'one of {[r.value for r in Role]}, several joined by +, or {VOID_ROLE}'
            ) from error
        if not 0 <= index <= 255:
            raise ModelError(f'{path}: class {row["name"]!r} has id {index}; expected 0..255')
        classes.append(TruthClass(index, row['name'], roles))
    return TruthTable(path, tuple(classes))


class LabelledImage(NamedTuple):
    """Paths of one image and its truth."""

    name: str
    image: Path
    label: Path


def find_labelled(images: Path, labels: Path, match: str = '') -> list[LabelledImage]:
    """List images of a folder with the label image of the same stem in another.

    Args:
        match: regular expression searched in the stem; '' takes all.

    Raises:
        DataError: no such folder, no regular expression, no image that matches, or an image without label.
    """
    for folder in (images, labels):
        if not folder.is_dir():
            raise DataError(f'{folder}: no such folder; give the folders of the images and of their labels')
    try:
        pattern = re.compile(match)
    except re.error as error:
        raise DataError(f'--match {match!r} is no regular expression ({error}); write for example 0001TP') from error
    files = sorted(p for p in images.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    chosen = [p for p in files if pattern.search(p.stem)]
    if not chosen:
        raise DataError(f'{images}: {len(files)} images, none of which matches {match!r}; check --match')
    found = [LabelledImage(p.stem, p, labels / f'{p.stem}.png') for p in chosen]
    for item in found:
        if not item.label.is_file():
            raise DataError(f'{item.image}: no label at {item.label}; label it, or leave it out with --match')
    return found


def read_truth(item: LabelledImage, table: TruthTable, height: int, width: int) -> UInt8:
    """Read a label image as rows of `table.classes`, VOID where nothing counts: uint8 [height, width].

    Raises:
        DataError: not an 8-bit one-channel image, of another size, or with an id that the table lacks.
    """
    raw = cv2.imread(str(item.label), cv2.IMREAD_UNCHANGED)
    if raw is None or raw.ndim != 2 or raw.dtype != np.uint8:
        found = 'not an image' if raw is None else f'{raw.dtype} {raw.shape}'
        raise DataError(f'{item.label}: {found}; expected one 8-bit channel of class ids')
    if raw.shape != (height, width):
        raise DataError(
            f'{item.label}: {raw.shape[1]}x{raw.shape[0]}, its image is {width}x{height}; give labels of the same size'
        )
    unknown = set(np.unique(raw).tolist()) - {c.id for c in table.classes}
    if unknown:
        raise DataError(f'{item.label}: ids {sorted(unknown)} are not in {table.path}; add them there or correct it')
    return np.asarray(cv2.LUT(raw, table.lut()), np.uint8)


class Rightness(NamedTuple):
    """Which predictions are right for which truth."""

    table: npt.NDArray[np.bool_]
    """[truth rows, model classes]."""
    by: str
    """'class', or 'role' where the truth's classes are not the model's."""


def rightness(table: TruthTable, labels: LabelMap, mapping: Path | None = None) -> Rightness:
    """Compare by class when the truth's names are the model's or `mapping` (as for training) relates them, else by role.

    Raises:
        ConfigError: the mapping does not fit the two class tables.
    """
    if mapping is not None:
        sets: list[tuple[int, ...]] = []
        lut = read_mapping(mapping, {c.name: c.id for c in table.classes}, labels, sets).lut
        members = [*((i,) for i in range(len(labels))), *sets]
        allowed = [members[lut[c.id]] if lut[c.id] != VOID else () for c in table.classes]
        return Rightness(np.array([[i in ids for i in range(len(labels))] for ids in allowed]), 'class')
    names = [c.name for c in labels.classes]
    if all(c.name in names for c in table.classes if c.roles):
        return Rightness(
            np.array([[c.name == name and bool(c.roles) for name in names] for c in table.classes]), 'class'
        )
    return Rightness(by_role(table, labels), 'role')


def by_role(table: TruthTable, labels: LabelMap) -> npt.NDArray[np.bool_]:
    """Return bool [truth rows, model classes]: whether the prediction has a role that the truth allows."""
    return np.array([[c.role in t.roles for c in labels.classes] for t in table.classes])
