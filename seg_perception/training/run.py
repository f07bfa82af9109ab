"""One training run from its YAML file, with everything needed to repeat it saved beside the result."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import yaml

from seg_perception import __version__
from seg_perception.errors import ConfigError
from seg_perception.training.config import TrainConfig, change_values, config_to_dict, parse_train_config, read_yaml
from seg_perception.training.curves import plot_history
from seg_perception.training.datasets import load
from seg_perception.training.loop import Outcome, train
from seg_perception.training.mapping import mapping_file


def train_from_file(path: Path, data_dir: Path, out: Path, changes: Sequence[str] = ()) -> Outcome:
    """Train the network that the YAML file at `path` describes, into the folder `out`.

    Args:
        changes: 'key=value' or 'section.key=value', each replacing a value of the file.

    Raises:
        ConfigError, DataError, ModelError: see `parse_train_config`, `load` and `train`; all checks of files come first.
    """
    values = change_values(read_yaml(path), changes)
    config = parse_train_config(values, str(path))
    mappings = _mappings(config, path.parent)
    loaded = load(config.datasets, data_dir, path.parent, config.classes)
    out.mkdir(parents=True, exist_ok=True)
    (out / 'config.yaml').write_text(yaml.safe_dump(config_to_dict(config), sort_keys=False), encoding='utf-8')
    for name, mapping in mappings.items():
        (out / name).write_bytes(mapping.read_bytes())
    facts = {
        'seg_perception': __version__,
        'torch': torch.__version__,
        'numpy': np.__version__,
        'python': platform.python_version(),
        'threads': torch.get_num_threads(),
        'train_images': len(loaded.train),
        'select_images': len(loaded.select),
    }
    (out / 'environment.json').write_text(json.dumps(facts, indent=1) + '\n', encoding='utf-8')
    outcome = train(config, data_dir, loaded, out)
    plot_history(out / 'curves.png', outcome.history)
    return outcome


def _mappings(config: TrainConfig, folder: Path) -> dict[str, Path]:
    """Return the mappings by the names under which the run keeps them.

    Raises:
        ConfigError: two files have one name, or one is missing.
    """
    found: dict[str, Path] = {}
    for entry in config.datasets:
        path = mapping_file(folder, entry.mapping).resolve()
        if found.setdefault(path.name, path) != path:
            raise ConfigError(f'mappings {found[path.name]} and {path} have one name; rename one: a run keeps both')
    return found
