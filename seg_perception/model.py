"""Facts that travel with a model: sizes, classes, calibration of its confidence.

They are JSON under the key `seg_perception` of the ONNX file's metadata, written by the export.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_perception.errors import ModelError
from seg_perception.labels import LabelMap

METADATA_KEY = 'seg_perception'
FORMAT = 1


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The contract of one model file: `image` uint8 [N, H, W, 3] in, `labels` and `confidence` uint8 [N, H, W] out."""

    path: Path
    name: str
    precision: str
    input_height: int
    input_width: int
    labels: LabelMap
    sha256: str
    class_precision: tuple[float, ...] | None = None
    """P(truth is drivable | predicted class), per class, measured on the selection split."""
    metadata: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.input_height <= 0 or self.input_width <= 0:
            raise ModelError(
                f'{self.path}: input is {self.input_height}x{self.input_width}; expected a fixed, positive size'
            )
        if self.class_precision is not None and not all(0 <= p <= 1 for p in self.class_precision):
            raise ModelError(f'{self.path}: class_precision is {self.class_precision}; expected shares, 0 to 1')
        if self.class_precision is not None and len(self.class_precision) != len(self.labels):
            raise ModelError(
                f'{self.path}: class_precision has {len(self.class_precision)} values for {len(self.labels)} classes'
            )


def parse_metadata(path: Path, text: str | None, sha256: str) -> ModelSpec:
    """Read the JSON of a model's metadata.

    Raises:
        ModelError: there is none, it is not JSON, of another format version, or a key is missing.
    """
    if not text:
        raise ModelError(
            f'{path}: no `{METADATA_KEY}` metadata, so its classes are unknown; export it with `seg_perception export`'
        )
    try:
        data = json.loads(text)
        if data['format'] != FORMAT:
            raise ModelError(f'{path}: metadata format {data["format"]}; expected {FORMAT}; export the model again')
        precision = data.get('class_precision')
        return ModelSpec(
            path=path,
            name=str(data['name']),
            precision=str(data['precision']),
            input_height=int(data['input_height']),
            input_width=int(data['input_width']),
            labels=LabelMap.from_dicts(data['classes']),
            sha256=sha256,
            class_precision=tuple(float(p) for p in precision) if precision is not None else None,
            metadata=data,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f'{path}: metadata is not usable ({error!r}); export it again') from error
