"""Model cards: the metadata of a model's files, their hashes and measured accuracy, for programs and for people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_perception.engine.onnxrt import read_spec
from seg_perception.engine.siblings import variant
from seg_perception.errors import ModelError

if TYPE_CHECKING:
    from seg_perception.training.export import Exported


def write_card(folder: Path, name: str, exported: Sequence[Exported]) -> Path:
    """Write `name.json` and `name.md`; accuracy that an earlier card holds for a file of the same hash is kept."""
    path = folder / f'{name}.json'
    old: dict[str, Any] = json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}
    files = dict(old.get('files', {}))
    for item in exported:
        data = item.path.read_bytes()
        entry = {
            'sha256': hashlib.sha256(data).hexdigest(),
            'bytes': len(data),
            'precision': read_spec(item.path).precision,
            'labels_equal_to_pytorch': round(item.agreement, 5),
        }
        kept = files.get(item.path.name, {})
        if kept.get('sha256') == entry['sha256'] and 'accuracy' in kept:
            entry['accuracy'] = kept['accuracy']
        files[item.path.name] = entry
    metadata = dict(read_spec(exported[0].path).metadata or {})
    metadata.pop('precision', None)
    card = metadata | {'files': files}
    path.write_text(json.dumps(card, indent=1) + '\n', encoding='utf-8')
    path.with_suffix('.md').write_text(_markdown(card), encoding='utf-8')
    return path


def add_accuracy(model: Path, images: str, figures: dict[str, Any]) -> Path:
    """Note in the card beside `model` what `evaluation.measure.summary` says of it; `images` says what it was measured on.

    Raises:
        ModelError: there is no card, or it holds another file of that name.
    """
    path = model.with_name(f'{variant(model)[0]}.json')
    card = json.loads(path.read_text(encoding='utf-8')) if path.exists() else {'files': {}}
    entry = card['files'].get(model.name, {})
    if entry.get('sha256') != figures['sha256']:
        raise ModelError(f'{path} is no card of this {model.name}; `seg_perception export` writes both')
    known = {name: round(iou, 5) for name, iou in figures['iou'].items() if iou is not None}
    entry['accuracy'] = {'images': images, **known, 'ece': round(figures['ece'], 5)}
    path.write_text(json.dumps(card, indent=1) + '\n', encoding='utf-8')
    path.with_suffix('.md').write_text(_markdown(card), encoding='utf-8')
    return path


def _markdown(card: dict[str, Any]) -> str:
    training = card['training']
    lines = [
        f'# {card["name"]}',
        '',
        f'{training["network"]} on {training["backbone"]} (width {training["width"]}, output stride '
        f'{training["output_stride"]}), input {card["input_width"]}x{card["input_height"]}. '
        f'Trained for {training["steps"]} steps of {training["batch"]} crops on {training["train_images"]} images of '
        f'{", ".join(training["datasets"])}; chosen on {training["select_images"]} others.'
        + (f' Started from {training["start"]}.' if training.get('start') else '')
        + (f' Weights averaged with those of {training["averaged_with"]}.' if training.get('averaged_with') else '')
        + (f' Darker images are lifted to a mean of {training["exposure"]}.' if training.get('exposure') else ''),
        '',
        '| id | class | role | ground | colour | P(drivable, given predicted) |',
        '|---|---|---|---|---|---|',
    ]
    for entry, share in zip(card['classes'], card['class_precision'], strict=True):
        color = ' '.join(str(c) for c in entry['color'])
        ground = 'yes' if entry['ground'] else 'no'
        lines.append(f'| {entry["id"]} | {entry["name"]} | {entry["role"]} | {ground} | {color} | {share:.4f} |')
    lines += [
        '',
        f'Confidence: softmax at temperature {card["confidence_temperature"]}, fitted on the selection split.',
    ]
    lines += ['', '| file | MB | labels equal to PyTorch | drivable | obstacle | lane | ece | SHA-256 |']
    lines += ['|---|---|---|---|---|---|---|---|']
    for file, entry in sorted(card['files'].items()):
        figures = [_figure(entry.get('accuracy', {}), k) for k in ('drivable', 'obstacle', 'lane', 'ece')]
        agreement = f'{entry["labels_equal_to_pytorch"]:.2%}'
        row = [file, f'{entry["bytes"] / 1e6:.1f}', agreement, *figures, f'`{entry["sha256"][:16]}`']
        lines.append(f'| {" | ".join(row)} |')
    if card['data_licence']:
        lines += ['', f'Data: {card["data_licence"]}']
    return '\n'.join(lines) + '\n'


def _figure(accuracy: dict[str, Any], name: str) -> str:
    value = accuracy.get(name)
    return '-' if value is None else f'{value:.4f}'
