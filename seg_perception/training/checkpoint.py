"""Checkpoints: everything to resume a run, and everything to rebuild the network it trained."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from seg_perception.errors import ModelError, first_line
from seg_perception.training.config import TrainConfig, config_to_dict, parse_train_config
from seg_perception.training.networks import build_network

FORMAT = 'seg_perception-checkpoint-1'


class Checkpoint(NamedTuple):
    """What a checkpoint file holds."""

    config: TrainConfig
    step: int
    score: float
    """Selection score of `network`."""
    network: dict[str, Any]
    """Averaged weights, the ones to judge and export."""
    resume: dict[str, Any]
    """State of the run; empty in a best checkpoint."""
    confusion: list[list[int]]
    """Pixels of the selection split by true and predicted class."""


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically: an interrupted write leaves the old file."""
    partial = path.with_suffix('.partial')
    data = checkpoint._asdict() | {'config': config_to_dict(checkpoint.config), 'format': FORMAT}
    torch.save(data, partial)
    os.replace(partial, path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ModelError: unreadable, or not written by `seg_perception train`.
    """
    if path.is_file() and not zipfile.is_zipfile(path):
        # torch.load raises whatever its unpickler stumbles over on bytes that are no archive.
        raise ModelError(f'{path}: not a checkpoint; give a .pt file of a training run')
    try:
        data = torch.load(path, map_location='cpu', weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        text = f'{path}: cannot read the checkpoint ({first_line(error)}); give a .pt file of a training run'
        raise ModelError(text) from error
    if not isinstance(data, dict) or data.get('format') != FORMAT:
        raise ModelError(f'{path}: not a checkpoint of this program; give a .pt file that `seg_perception train` wrote')
    del data['format']
    data['config'] = parse_train_config(data['config'], str(path))
    return Checkpoint(**data)


def network_from(config: TrainConfig) -> nn.Module:
    """Build the network of a configuration, with random weights."""
    net = config.network
    return build_network(
        net.name, len(config.classes), width=net.width, output_stride=net.output_stride, exposure=net.exposure
    )


def load_weights(network: nn.Module, state: dict[str, Any], path: Path) -> None:
    """Load weights strictly.

    Raises:
        ModelError: they belong to another network.
    """
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if '\n' in str(error) else str(error)
        raise ModelError(
            f'{path}: weights of another network ({reason[:160]}); use the configuration it came with'
        ) from error
