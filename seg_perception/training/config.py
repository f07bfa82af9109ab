"""What a training YAML may say; every default is here."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from seg_perception.errors import ConfigError
from seg_perception.labels import DEFAULT_LABELS, LabelMap

T = TypeVar('T')


def require(condition: bool, name: str, value: object, expected: str) -> None:
    """Raise ConfigError unless `condition` holds."""
    if not condition:
        raise ConfigError(f'{name} is {value!r}; expected {expected}')


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Which network, and what it starts from."""

    name: str = 'deeplabv3plus'
    width: float = 1.0
    output_stride: int = 16
    weights: str = ''
    """Backbone weights (.npz or .pth with torchvision's names), relative to the data folder; '' starts from random."""
    start: str = ''
    """A checkpoint of this program to fine-tune, relative to the data folder or absolute; '' for none."""
    exposure: float = 0.0
    """Mean brightness, 0..1, that darker images are lifted to inside the network; 0 leaves them as they are."""
    freeze: int = 0
    """First blocks of the backbone, of 18, whose weights stay as they are: fine-tuning takes less time without them."""

    def __post_init__(self) -> None:
        require(0 <= self.exposure < 1, 'network.exposure', self.exposure, '0..1, less than 1')
        require(0 <= self.freeze <= 18, 'network.freeze', self.freeze, '0..18')


@dataclass(frozen=True, slots=True)
class DatasetConfig:
    """One folder of labelled images and how its classes map to the model's."""

    root: str
    """Relative to the data folder."""
    mapping: str
    """YAML with the layout and the class mapping, relative to the training YAML."""
    match: str = ''
    """Regular expression searched in the image's name; others are left out."""
    exclude: str = ''
    """Regular expression; images that it finds are left out."""
    select: str = ''
    """Regular expression; images that it finds are kept from training and choose the best checkpoint."""
    every: int = 1
    """Take every n-th image only."""

    def __post_init__(self) -> None:
        require(self.every >= 1, 'datasets.every', self.every, 'at least 1')
        for name in ('match', 'exclude', 'select'):
            try:
                re.compile(getattr(self, name))
            except re.error as error:
                text = f'datasets.{name} is {getattr(self, name)!r}; expected a regular expression ({error})'
                raise ConfigError(text) from error


@dataclass(frozen=True, slots=True)
class LossConfig:
    """Weighted sum of loss terms."""

    cross_entropy: float = 1.0
    dice: float = 0.5
    focal: float = 0.0
    focal_gamma: float = 2.0
    hard_fraction: float = 1.0
    """Share of the pixels, the hardest, that the cross-entropy is averaged over; 1 takes all."""
    foreign: float = 1.0
    """Weight of pasted foreign objects, whose target is spread over the classes that are not ground."""
    class_weights: str | tuple[float, ...] = 'balanced'
    """'none', 'balanced' (inverse square root of the frequency, mean 1) or one number per class."""

    def __post_init__(self) -> None:
        for name in ('cross_entropy', 'dice', 'focal', 'foreign'):
            require(getattr(self, name) >= 0, f'loss.{name}', getattr(self, name), 'at least 0')
        require(self.cross_entropy + self.dice + self.focal > 0, 'loss', self, 'at least one positive term')
        require(0 < self.hard_fraction <= 1, 'loss.hard_fraction', self.hard_fraction, '(0, 1]')
        named = isinstance(self.class_weights, str)
        require(
            not named or self.class_weights in ('none', 'balanced'),
            'loss.class_weights',
            self.class_weights,
            "'none', 'balanced' or a list of numbers",
        )


@dataclass(frozen=True, slots=True)
class AugmentConfig:
    """Random changes of a training image; probabilities unless said otherwise."""

    scale_min: float = 0.55
    scale_max: float = 1.9
    """Zoom relative to the network's view of the whole frame."""
    aspect: float = 1.35
    """Largest stretch of width against height, either way: cameras differ and frames are stretched to the network."""
    flip: float = 0.5
    color: float = 0.8
    dark: float = 0.4
    """Dusk and night: exposure lost, colour cast, noise."""
    shadow: float = 0.3
    blur: float = 0.15
    noise: float = 0.3
    jpeg: float = 0.2
    foreign: float = 0.3
    """Objects of no class pasted onto the road."""
    paste: float = 0.0
    """Vehicles and persons of other frames, stood on the ground; see `instances`."""
    hood: float = 0.25
    """The vehicle's own hood at the bottom of the image; it is void."""

    def __post_init__(self) -> None:
        require(0 < self.scale_min <= self.scale_max, 'augment.scale_min', self.scale_min, 'positive, <= scale_max')
        require(self.aspect >= 1, 'augment.aspect', self.aspect, 'at least 1')
        for name in ('flip', 'color', 'dark', 'shadow', 'blur', 'noise', 'jpeg', 'foreign', 'paste', 'hood'):
            require(0 <= getattr(self, name) <= 1, f'augment.{name}', getattr(self, name), '0..1')


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One training run."""

    datasets: tuple[DatasetConfig, ...]
    network: NetworkConfig = field(default_factory=NetworkConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    classes: LabelMap = DEFAULT_LABELS
    input_height: int = 512
    input_width: int = 768
    """Size the network will run at; training crops are cut from frames stretched to it."""
    crop_height: int = 352
    crop_width: int = 512
    batch: int = 8
    steps: int = 3000
    epoch_steps: int = 150
    """Steps between looks at the selection split."""
    rate: float = 8e-4
    """Peak learning rate of AdamW; the backbone gets `backbone_rate` times that."""
    backbone_rate: float = 0.3
    weight_decay: float = 0.01
    warmup_steps: int = 150
    ema: float = 0.995
    """Decay per step of the averaged weights that are judged and kept; 0 keeps the last."""
    rare: float = 0.5
    """Probability that a crop is centred on a pixel of a rare class."""
    rare_by: str = 'class'
    """'source': within a rare class, the data sets' own classes (lorry, car) take turns; 'class': they do not."""
    workers: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        require(len(self.datasets) > 0, 'datasets', self.datasets, 'at least one')
        for name in ('input_height', 'input_width', 'crop_height', 'crop_width'):
            value = getattr(self, name)
            require(value > 0 and value % 32 == 0, name, value, 'a positive multiple of 32')
        for name in ('batch', 'steps', 'epoch_steps', 'workers'):
            require(getattr(self, name) >= 1, name, getattr(self, name), 'at least 1')
        require(isinstance(self.seed, int), 'seed', self.seed, 'a whole number')
        require(self.rate > 0, 'rate', self.rate, 'positive')
        for name in ('ema', 'rare'):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), '0..1')
        require(self.rare_by in ('class', 'source'), 'rare_by', self.rare_by, "'class' or 'source'")
        weights = self.loss.class_weights
        if not isinstance(weights, str):
            require(len(weights) == len(self.classes), 'loss.class_weights', weights, f'{len(self.classes)} numbers')


def _build(kind: type[T], values: Any, where: str) -> T:
    if not isinstance(values, Mapping):
        raise ConfigError(f'{where} is {values!r}; expected a mapping')
    known = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(f'{where}: unknown keys {unknown}; expected some of {sorted(known)}')
    try:  # YAML takes 8e-4 for text
        numbers = {k: float(v) for k, v in values.items() if isinstance(v, str) and isinstance(known[k].default, float)}
        return kind(**{**values, **numbers})
    except (TypeError, ValueError) as error:
        raise ConfigError(f'{where}: {error}') from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ConfigError: missing, not YAML, or not a mapping.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise ConfigError(f'{path}: cannot read ({reason}); give the path of a YAML file') from error
    except yaml.YAMLError as error:
        raise ConfigError(f'{path}: not YAML ({" ".join(str(error).split())}); correct that line') from error
    if not isinstance(data, dict):
        raise ConfigError(f'{path}: holds {type(data).__name__}; expected keys and values')
    return data


def change_values(values: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Return a copy of parsed YAML with each 'key=value' or 'section.key=value' in place.

    Raises:
        ConfigError: a change has another form.
    """
    result: dict[str, Any] = copy.deepcopy(dict(values))
    for change in changes:
        name, equals, text = change.partition('=')
        section, _, key = name.rpartition('.')
        if not equals or not key or '.' in section:
            raise ConfigError(f'{change!r} is not a change; expected KEY=VALUE or SECTION.KEY=VALUE')
        target = result.setdefault(section, {}) if section else result
        if not isinstance(target, dict):
            raise ConfigError(f'{change!r}: {section} is not a section; it is {target!r}')
        target[key] = yaml.safe_load(text)
    return result


def parse_train_config(data: Mapping[str, Any], where: str) -> TrainConfig:
    """Build the configuration from parsed YAML, refusing unknown keys.

    Raises:
        ConfigError: unknown key, wrong type or out of range.
    """
    values = dict(data)
    entries = values.get('datasets')
    if not isinstance(entries, list):
        raise ConfigError(f'{where}: datasets is {entries!r}; expected a list of data sets')
    values['datasets'] = tuple(_build(DatasetConfig, e, f'{where}: datasets[{i}]') for i, e in enumerate(entries))
    for name, kind in (('network', NetworkConfig), ('loss', LossConfig), ('augment', AugmentConfig)):
        section = values.get(name) or {}
        if isinstance(section, Mapping) and isinstance(section.get('class_weights'), list):
            section = {**section, 'class_weights': tuple(float(w) for w in section['class_weights'])}
        values[name] = _build(kind, section, f'{where}: {name}')
    if 'classes' in values:
        values['classes'] = LabelMap.from_dicts(values['classes'])
    try:
        return _build(TrainConfig, values, where)
    except TypeError as error:
        raise ConfigError(f'{where}: {error}') from error


def config_to_dict(config: TrainConfig) -> dict[str, Any]:
    """Return what `parse_train_config` reads."""
    data = dataclasses.asdict(dataclasses.replace(config, classes=DEFAULT_LABELS))
    data['classes'] = config.classes.to_dicts()
    data['datasets'] = list(data['datasets'])
    if not isinstance(config.loss.class_weights, str):
        data['loss']['class_weights'] = list(config.loss.class_weights)
    return data
