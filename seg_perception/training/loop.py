"""The training loop: seeded, resumable, in mixed precision."""

from __future__ import annotations

import copy
import csv
import ctypes
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from seg_perception.errors import ConfigError, DataError
from seg_perception.training.backbone import load_backbone
from seg_perception.training.checkpoint import Checkpoint, load_checkpoint, load_weights, network_from, save_checkpoint
from seg_perception.training.config import TrainConfig, config_to_dict
from seg_perception.training.datasets import Loaded
from seg_perception.training.losses import SegmentationLoss, class_weights
from seg_perception.training.networks import full_size
from seg_perception.training.select import Judgement, judge
from seg_perception.training.stream import CropDataset, batches

FIELDS = ('step', 'loss', 'score', 'drivable', 'lane', 'obstacle', 'rate', 'seconds')
CLIP_NORM = 5.0
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Numbers of glibc's malloc.h."""
MAX_SKIPPED = 20
"""Steps without a finite gradient, in a row, after which a run is given up."""


class Outcome(NamedTuple):
    """What a finished run leaves."""

    best: Path
    score: float
    history: list[dict[str, float]]
    """One row of `FIELDS` per look at the selection split."""


class _Run:
    """State of a run between steps."""

    def __init__(self, config: TrainConfig, data_dir: Path, loaded: Loaded) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        network = network_from(config)
        if config.network.weights:
            load_backbone(network.backbone, data_dir / config.network.weights)
        if config.network.start:
            start = data_dir / config.network.start
            checkpoint = load_checkpoint(start)
            theirs, ours = ([c.name for c in labels.classes] for labels in (checkpoint.config.classes, config.classes))
            if theirs != ours:
                raise ConfigError(
                    f'{start} has the classes {theirs}, this run {ours}; map your labels to those, or begin with '
                    'network.weights in place of network.start'
                )
            load_weights(network, checkpoint.network, start)
        for parameter in network.backbone.features[: config.network.freeze].parameters():
            parameter.requires_grad_(False)
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        weights = class_weights(config.loss, loaded.train, len(config.classes))
        self.loss = SegmentationLoss(config.loss, config.classes, loaded.targets, weights).to(self.device)
        self.optimizer = torch.optim.AdamW(_groups(self.network, config), weight_decay=config.weight_decay)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: _rate(step, config))
        self.dtype = compute_dtype(self.device)
        # float16 needs its gradients scaled; bfloat16 on the CPU does not.
        self.scaler = torch.amp.GradScaler('cuda', enabled=self.device.type == 'cuda')
        self.step, self.skipped, self.best = 0, 0, -1.0
        self.history: list[dict[str, float]] = []

    def advance(self, image: Tensor, target: Tensor) -> float:
        """Take one optimiser step and return its loss."""
        self.network.train()
        image = image.to(self.device).float().contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits = self.network(image)
        loss = self.loss(full_size(logits.float(), *target.shape[1:]), target.to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), CLIP_NORM)
        finite = bool(torch.isfinite(norm))
        if finite or self.scaler.is_enabled():
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.step += 1
        if finite:
            self._follow()
        else:
            self._forget()
        self.skipped = 0 if finite else self.skipped + 1
        return float(loss.detach()) if finite else math.nan

    def _forget(self) -> None:
        """Take back the running statistics that a step without finite gradients may have spoiled."""
        kept = dict(self.average.named_buffers())
        for name, value in self.network.named_buffers():
            value.copy_(kept[name])

    def _follow(self) -> None:
        """Move the averaged weights; early steps follow faster, so that the average does not start stale."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        new = self.network.state_dict()
        for name, value in self.average.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(new[name], 1 - decay)
            else:
                value.copy_(new[name])

    def checkpoint(self, judgement: Judgement, *, resumable: bool) -> Checkpoint:
        resume: dict[str, Any] = {}
        if resumable:
            resume = {
                'network': self.network.state_dict(),
                'optimizer': self.optimizer.state_dict(),
                'schedule': self.schedule.state_dict(),
                'scaler': self.scaler.state_dict(),
                'random': torch.get_rng_state(),
                'best': self.best,
                'history': self.history,
            }
        state = self.average.state_dict()
        confusion = judgement.confusion.tolist()
        return Checkpoint(self.config, self.step, judgement.score, state, resume, confusion)

    def restore(self, path: Path) -> None:
        """Continue the run that wrote `path`.

        Raises:
            ConfigError: it ran with another configuration.
        """
        saved = load_checkpoint(path)
        if config_to_dict(saved.config) != config_to_dict(self.config):
            raise ConfigError(f'{path}: of a run with another configuration; give another --out folder or remove it')
        resume = saved.resume
        load_weights(self.average, saved.network, path)
        load_weights(self.network, resume['network'], path)
        self.optimizer.load_state_dict(resume['optimizer'])
        self.schedule.load_state_dict(resume['schedule'])
        self.scaler.load_state_dict(resume['scaler'])
        torch.set_rng_state(resume['random'])
        self.step, self.best, self.history = saved.step, resume['best'], list(resume['history'])


def compute_dtype(device: torch.device) -> torch.dtype:
    """Return the type to compute in: float16 on a GPU; on a CPU bfloat16 where it has instructions for it.

    Without them bfloat16 is emulated: a step took 1.2 times as long as in float32 (measured on a Cascade Lake Xeon).
    """
    if device.type == 'cuda':
        return torch.float16
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


def keep_freed_memory() -> None:
    """Let glibc keep what the last step freed; elsewhere this does nothing.

    By default it returns large blocks to the system, which clears them again for the next step: 3 s of a step of 5 s
    (measured, see docs/models.md).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, -1)


def _groups(network: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Split parameters: backbone or head, with decay or (norms and biases) without."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        groups.setdefault((name.startswith('backbone.'), parameter.ndim > 1), []).append(parameter)
    return [
        {
            'params': parameters,
            'lr': config.rate * (config.backbone_rate if backbone else 1),
            'weight_decay': config.weight_decay if decays else 0.0,
        }
        for (backbone, decays), parameters in groups.items()
    ]


def _rate(step: int, config: TrainConfig) -> float:
    """Warm up linearly, then fall as (1 - t) ** 0.9, the schedule of the DeepLab papers."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    return float(max(0.0, 1 - step / config.steps) ** 0.9)


def train(config: TrainConfig, data_dir: Path, loaded: Loaded, out: Path) -> Outcome:
    """Train, or go on where `out/last.pt` stopped; keep the best checkpoint of the selection split in `out/best.pt`.

    Raises:
        ConfigError: `out` holds a run with another configuration.
        DataError: the loss is no longer finite.
        ModelError: weights cannot be used.
    """
    out.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    run = _Run(config, data_dir, loaded)
    last, best = out / 'last.pt', out / 'best.pt'
    if last.exists():
        run.restore(last)
    bar = tqdm(total=config.steps, initial=run.step, unit='step', dynamic_ncols=True, mininterval=5)
    stream = batches(CropDataset(config, loaded), config, run.step)
    losses: list[float] = []
    start = time.monotonic()
    for image, target in stream:
        loss = run.advance(image, target)
        if math.isfinite(loss):
            losses.append(loss)
        elif run.skipped >= MAX_SKIPPED:
            raise DataError(f'no finite gradient in {MAX_SKIPPED} steps up to {run.step}; lower `rate` and start again')
        bar.set_postfix(loss=f'{loss:.3f}', refresh=False)
        bar.update()
        if run.step % config.epoch_steps == 0 or run.step == config.steps:
            judgement = judge(run.average, loaded.select, loaded.targets, config)
            row = _row(run, judgement, sum(losses) / max(1, len(losses)), time.monotonic() - start)
            run.history.append(row)
            bar.write(' '.join(f'{name} {value:.4g}' for name, value in row.items()))
            if judgement.score > run.best:
                run.best = judgement.score
                save_checkpoint(best, run.checkpoint(judgement, resumable=False))
            save_checkpoint(last, run.checkpoint(judgement, resumable=True))
            _write_history(out / 'history.csv', run.history)
            losses, start = [], time.monotonic()
    bar.close()
    return Outcome(best, run.best, run.history)


def _row(run: _Run, judgement: Judgement, loss: float, seconds: float) -> dict[str, float]:
    rate = run.optimizer.param_groups[-1]['lr']
    figures = (judgement.score, judgement.drivable, judgement.lane, judgement.obstacle)
    return dict(zip(FIELDS, (run.step, loss, *figures, rate, seconds), strict=True))


def _write_history(path: Path, rows: list[dict[str, float]]) -> None:
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
