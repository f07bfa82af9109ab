"""The scripts beside the training YAMLs: their runs in order, each with the right changes, and resumed."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from seg_perception.training.config import change_values, parse_train_config, read_yaml

Script = Callable[..., list[str]]
CONFIGS = Path(__file__).resolve().parents[2] / 'config' / 'training'
STUB = """#!/bin/sh
out=
echo "$*" >> "$CALLS"
while [ $# -gt 0 ]; do [ "$1" = --out ] && out=$2; shift; done
[ -z "$out" ] && exit 0
[ "${out##*/}" = "$STOP_AT" ] && exit 1
mkdir -p "$out" && echo 'step\n2' > "$out/history.csv" && echo "weights of ${out##*/}" > "$out/best.pt" && touch "$out/curves.png"
"""


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Run a script with a `python` that only notes what it was asked; returns the notes."""
    stub = tmp_path / 'bin' / 'python'
    stub.parent.mkdir()
    stub.write_text(STUB, encoding='utf-8')
    stub.chmod(0o755)
    calls = tmp_path / 'calls'

    def run(name: str, *options: str, stop_at: str = '') -> list[str]:
        calls.write_text('', encoding='utf-8')
        path = f'{stub.parent}:{os.environ["PATH"]}'
        command = ['sh', str(CONFIGS / name), 'DATA', str(tmp_path / 'out'), *options]
        environment = os.environ | {'PATH': path, 'CALLS': str(calls), 'STOP_AT': stop_at}
        done = subprocess.run(command, env=environment, check=False)
        assert (done.returncode != 0) == bool(stop_at)
        return calls.read_text(encoding='utf-8').splitlines()

    return run


def test_every_run_starts_from_the_one_before(script: Script, tmp_path: Path) -> None:
    lines = script('models.sh', '--set', 'steps=2')
    weights = tmp_path / 'out' / 'weights'
    configs = [line.split()[3] for line in lines[:4]]
    assert [Path(c).stem for c in configs] == [
        'deeplab_accurate',
        'deeplab_accurate_2',
        'deeplab_accurate_3',
        'deeplab_fast',
    ]
    assert all(Path(c).is_file() for c in configs)
    assert all(line.endswith('--set steps=2') and '--data DATA' in line for line in lines[:4])
    starts = [f'network.start={weights}/deeplab_accurate_{k}.pt' for k in (1, 2, 1)]
    assert all(start in line for start, line in zip(starts, lines[1:4], strict=True))
    accurate, fast = lines[4:]
    assert f'accurate_3/best.pt --average {weights}/deeplab_accurate_2.pt' in accurate
    assert 'fast/best.pt --exposure 0.4' in fast
    assert (weights / 'deeplab_accurate_2.pt').read_text(encoding='utf-8') == 'weights of accurate_2\n'


def test_finished_runs_are_not_run_again(script: Script) -> None:
    assert len(script('models.sh', stop_at='accurate_2')) == 2
    again = script('models.sh')
    assert [line.split()[2] for line in again] == ['train'] * 3 + ['export'] * 2
    assert 'deeplab_accurate_2.yaml' in again[0]


def test_each_short_run_is_a_valid_change_of_its_own(script: Script, tmp_path: Path) -> None:
    lines = script('compare.sh')
    base = read_yaml(CONFIGS / 'compare.yaml')
    changes = [line.split('--set ')[1:] for line in lines]
    configs = [parse_train_config(change_values(base, [c.strip() for c in each]), 'compare.yaml') for each in changes]
    assert len({repr(config) for config in configs}) == len(lines) > 10
    table = (tmp_path / 'out' / 'compare.csv').read_text(encoding='utf-8').splitlines()
    assert table[1] == 'deeplab,2'
    assert len(table) == 1 + len(lines)
    assert script('compare.sh') == []


def test_the_crf_is_measured_with_and_without_at_two_sizes(script: Script, tmp_path: Path) -> None:
    lines = script('crf.sh', 'CHECKPOINT')
    assert [line.split()[2] for line in lines] == ['export', 'evaluate'] * 4
    exports = [line.partition('--size ')[2] for line in lines[::2]]
    assert exports == ['512 768', '512 768 --crf', '256 384', '256 384 --crf']
    assert all('CHECKPOINT --data DATA' in line for line in lines[::2])
    assert all('--match 0001TP' in line for line in lines[1::2])
    assert (tmp_path / 'out' / 'crf.txt').exists()
    assert script('crf.sh', 'CHECKPOINT') == []
