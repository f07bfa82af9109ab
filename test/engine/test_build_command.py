"""`seg_perception build` as a user runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from seg_perception.cli.build import command
from seg_perception.errors import ConfigError, EngineError


def run(*arguments: object) -> str:
    """Run the command; errors surface as the exceptions that `main` turns into one line."""
    result = CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)
    if isinstance(result.exception, Exception):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_build_list_clean(gpu: Any, tiny: Path) -> None:
    built = run(tiny, '--batch', 2)
    assert 'tensorrt on cuda Simulated GPU' in built
    listed = run('--list')
    assert 'tiny-fp32-b2-' in listed
    assert 'Simulated GPU  tensorrt  10.3.0  fp32' in listed
    assert run('--clean') == 'deleted 1 plan(s)\n'
    assert 'no plans' in run('--list')
    assert gpu.leaks() == {}


def test_build_uses_the_cache_unless_forced(gpu: Any, tiny: Path) -> None:
    run(tiny)
    run(tiny)
    assert gpu.builds == 1
    run(tiny, '--force')
    assert gpu.builds == 2


def test_output_writes_plan_and_fingerprint(gpu: Any, tiny: Path, tmp_path: Path) -> None:
    assert 'written' in run(tiny, '--output', tmp_path / 'x.plan')
    assert (tmp_path / 'x.plan').exists()
    assert (tmp_path / 'x.json').exists()


def test_precision_takes_the_sibling(gpu: Any, tiny: Path, make_model: Any) -> None:
    with pytest.raises(EngineError, match=r'tiny.fp16.onnx: not found'):
        run(tiny, '--precision', 'fp16')
    make_model(tiny.with_name('tiny.fp16.onnx'), precision='fp16')
    assert 'tiny.fp16.onnx' in run(tiny, '--precision', 'fp16')


def test_check_needs_no_gpu_and_keeps_nothing(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('tensorrt_rtx_bindings', reason='TensorRT-RTX is not installed')
    monkeypatch.setenv('SEG_PERCEPTION_CACHE', str(tmp_path / 'plans'))
    output = run(tiny, '--check')
    assert 'TensorRT-RTX' in output
    assert 'convolutions: fp32 100 %' in output
    assert not (tmp_path / 'plans').exists()


def test_contradicting_flags() -> None:
    with pytest.raises(ConfigError, match='exclude each other'):
        run('--list', '--clean')


def test_without_a_gpu_the_reason_is_given(gpu: Any, tiny: Path) -> None:
    gpu.fail_at = 'init'
    with pytest.raises(EngineError, match='CUDA cannot open the GPU'):
        run(tiny)
