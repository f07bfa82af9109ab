import json
import math
from pathlib import Path
from typing import Any

import pytest

from seg_perception.errors import ConfigError, ModelError
from seg_perception.labels import DEFAULT_LABELS
from seg_perception.model import parse_metadata
from seg_perception.paths import share_file


def metadata(**changes: Any) -> str:
    facts = {
        'format': 1,
        'name': 'tiny',
        'precision': 'fp32',
        'input_height': 32,
        'input_width': 48,
        'classes': DEFAULT_LABELS.to_dicts(),
    }
    return json.dumps({k: v for k, v in (facts | changes).items() if v is not ...})


def test_a_model_says_its_size_and_classes() -> None:
    spec = parse_metadata(Path('a.onnx'), metadata(class_precision=[0.9, 0.8, 0.1, 0, 0, 0.05]), 'ab' * 32)
    assert (spec.input_height, spec.input_width, spec.labels) == (32, 48, DEFAULT_LABELS)
    assert spec.class_precision == (0.9, 0.8, 0.1, 0.0, 0.0, 0.05)


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        (None, 'seg_perception export'),
        ('{', 'not usable'),
        (metadata(format=2), 'format 2; expected 1'),
        (metadata(input_width=...), 'input_width'),
        (metadata(input_width=0), '32x0'),
        (metadata(classes=[{'id': 0}]), 'name'),
        (metadata(class_precision=[0.5]), '1 values for 6 classes'),
        (metadata(class_precision=[0.9, math.nan, 0.1, 0, 0, 0]), 'expected shares, 0 to 1'),
    ],
)
def test_a_foreign_model_is_refused_with_the_reason(text: str | None, said: str) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        parse_metadata(Path('a.onnx'), text, '')
    assert 'a.onnx' in str(caught.value) or 'class' in str(caught.value)


def test_shipped_files_are_found_in_an_install_before_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / 'share' / 'seg_perception' / 'config' / 'params.yaml'
    shipped.parent.mkdir(parents=True)
    shipped.touch()
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'/nowhere:{tmp_path}')
    assert share_file('config/params.yaml') == shipped
    with pytest.raises(ConfigError, match=r'none\.onnx is not installed'):
        share_file('engines/none.onnx')
