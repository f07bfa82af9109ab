"""What the doctor reads from this machine's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from seg_perception.doctor import machine


def test_a_profile_is_read_and_its_faults_are_told(tmp_path: Path) -> None:
    shipped = Path(__file__).parent.parent.parent / 'config' / 'fastdds_shm.xml'
    assert machine.read_profile(shipped) == (64 << 20, '')
    broken = tmp_path / 'broken.xml'
    broken.write_text('<profiles>')
    assert 'no valid XML' in machine.read_profile(broken)[1]
    assert 'No such file' in machine.read_profile(tmp_path / 'none.xml')[1]


def test_a_plan_of_the_wrong_size_is_corrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('SEG_PERCEPTION_CACHE', str(tmp_path))
    tmp_path.chmod(0o700)
    (tmp_path / 'm.plan').write_bytes(b'123')
    (tmp_path / 'm.json').write_text('{"plan_bytes": 99, "fingerprint": {"model_sha256": "abc"}}')
    assert 'has 3 bytes; expected 99: it is corrupt' in machine._plans('abc')[1]
    (tmp_path / 'm.plan').write_bytes(bytes(99))
    assert machine._plans('abc')[1] == ''
    assert len(machine._plans('abc')[0]) == 1
