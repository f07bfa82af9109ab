"""Plans on disk: whole, private and for this machine, or not used."""

from __future__ import annotations

import json
import os
import resource
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from seg_perception.engine.cache import CACHE_VARIABLE, Fingerprint, PlanCache, cache_directory, plan_name
from seg_perception.errors import EngineError

FINGERPRINT = Fingerprint('a' * 64, 'tensorrt', '10.3.0', '12.6.0', '12.6', 'Orin', '8.7', 'fp16', '1, 4, 4', 0, None)
PLAN = bytes(range(256)) * 64


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    return PlanCache(tmp_path / 'plans')


def test_a_stored_plan_is_found_again(cache: PlanCache) -> None:
    cache.store('m', PLAN, FINGERPRINT, {'model': 'm.onnx'})
    assert cache.load('m', FINGERPRINT) == (PLAN, '', '')
    assert [p.name for p in sorted(cache.directory.iterdir())] == ['m.json', 'm.plan']


@pytest.mark.parametrize(
    ('field', 'value', 'reason'),
    [
        ('tensorrt', '10.13.2', 'tensorrt: 10.3.0 -> 10.13.2'),
        ('gpu', 'Thor', 'gpu: Orin -> Thor'),
        ('compute_capability', '11.0', 'compute_capability: 8.7 -> 11.0'),
        ('driver', '13.0', 'driver: 12.6 -> 13.0'),
        ('precision', 'int8', 'precision: fp16 -> int8'),
        ('profile', '1, 6, 6', 'profile: 1, 4, 4 -> 1, 6, 6'),
        ('dla_core', 0, 'dla_core: None -> 0'),
        ('model_sha256', 'b' * 64, 'model_sha256: aaaaaaaaaaaa... -> bbbbbbbbbbbb...'),
    ],
)
def test_a_plan_for_something_else_is_refused_and_says_what_differs(
    cache: PlanCache, field: str, value: object, reason: str
) -> None:
    cache.store('m', PLAN, FINGERPRINT, {})
    assert cache.load('m', replace(FINGERPRINT, **{field: value})) == (None, reason, '')


def test_every_differing_field_is_named(cache: PlanCache) -> None:
    cache.store('m', PLAN, FINGERPRINT, {})
    found = cache.load('m', replace(FINGERPRINT, cuda='13.0.0', gpu='Thor'))
    assert found.reason == 'cuda: 12.6.0 -> 13.0.0; gpu: Orin -> Thor'


@pytest.mark.parametrize('position', [0, 4711, len(PLAN) - 1])
def test_one_flipped_byte_is_found(cache: PlanCache, position: int) -> None:
    path = cache.store('m', PLAN, FINGERPRINT, {})
    damaged = bytearray(PLAN)
    damaged[position] ^= 1
    path.write_bytes(damaged)
    assert cache.load('m', FINGERPRINT).plan is None
    assert 'm.plan is corrupt' in cache.load('m', FINGERPRINT).reason


def test_a_truncated_plan_is_found(cache: PlanCache) -> None:
    cache.store('m', PLAN, FINGERPRINT, {}).write_bytes(PLAN[:-1])
    assert cache.load('m', FINGERPRINT).reason == 'm.plan has 16383 bytes; expected 16384'


@pytest.mark.parametrize('text', ['', '{', '[1]', 'null'])
def test_an_unreadable_fingerprint_is_no_fingerprint(cache: PlanCache, text: str) -> None:
    cache.store('m', PLAN, FINGERPRINT, {}).with_suffix('.json').write_text(text)
    assert cache.load('m', FINGERPRINT).reason == 'm.json is missing or unreadable'


def test_a_plan_of_another_program_is_refused(cache: PlanCache) -> None:
    cache.path('m').write_bytes(PLAN)
    assert cache.load('m', FINGERPRINT).reason == 'm.json is missing or unreadable'
    cache.path('m').with_suffix('.json').write_text('{"made": "elsewhere"}')
    assert cache.load('m', FINGERPRINT).reason == 'format: absent -> 1'


def test_a_new_plan_beside_an_old_fingerprint_is_refused(cache: PlanCache) -> None:
    """The state after a crash between the two writes."""
    old = cache.store('m', PLAN, FINGERPRINT, {}).with_suffix('.json').read_bytes()
    cache.store('m', PLAN[::-1], FINGERPRINT, {}).with_suffix('.json').write_bytes(old)
    assert cache.load('m', FINGERPRINT).plan is None


def test_the_directory_is_for_its_owner_only(cache: PlanCache) -> None:
    assert cache.directory.stat().st_mode & 0o777 == 0o700
    assert cache.store('m', PLAN, FINGERPRINT, {}).stat().st_mode & 0o777 == 0o600


def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(EngineError, match=r'others may write to it.*chmod go-w'):
        PlanCache(tmp_path)


def test_a_plan_that_others_may_write_to_is_refused(cache: PlanCache) -> None:
    cache.store('m', PLAN, FINGERPRINT, {}).chmod(0o666)
    with pytest.raises(EngineError, match='others may write to it'):
        cache.load('m', FINGERPRINT)


def test_another_users_plan_is_refused(cache: PlanCache, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cache.store('m', PLAN, FINGERPRINT, {})
    status = path.stat()
    foreign = os.stat_result((*status[:4], 4242, *status[5:10]))
    monkeypatch.setattr(Path, 'stat', lambda self, **_: foreign)
    with pytest.raises(EngineError, match='belongs to user 4242'):
        cache.load('m', FINGERPRINT)


def test_a_directory_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(EngineError, match=r'cannot create the plan cache .*set SEG_PERCEPTION_CACHE'):
        PlanCache(tmp_path / 'file' / 'plans')


def test_a_full_disk_leaves_the_old_plan_and_no_remains(cache: PlanCache) -> None:
    cache.store('m', PLAN, FINGERPRINT, {})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(EngineError, match=r'm.plan: cannot write .*free space or set SEG_PERCEPTION_CACHE'):
            cache.store('m', PLAN * 10, FINGERPRINT, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert cache.load('m', FINGERPRINT).plan == PLAN
    assert [p.name for p in sorted(cache.directory.iterdir())] == ['m.json', 'm.plan']


def test_remains_of_a_killed_build_are_removed_by_the_next(cache: PlanCache) -> None:
    (cache.directory / 'm.xyz.part').write_bytes(b'half')
    cache.store('m', PLAN, FINGERPRINT, {})
    assert not list(cache.directory.glob('*.part'))


def test_the_lock_lets_one_in_at_a_time(cache: PlanCache) -> None:
    inside, release, order = threading.Event(), threading.Event(), []

    def hold() -> None:
        with PlanCache(cache.directory).lock('m'):
            inside.set()
            release.wait()
            order.append('first')

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    with cache.lock('other'):
        order.append('another plan')
    release.set()
    with cache.lock('m'):
        order.append('second')
    thread.join()
    assert order == ['another plan', 'first', 'second']


def test_a_refusal_is_remembered_until_the_next_build(cache: PlanCache) -> None:
    cache.store('m', PLAN, FINGERPRINT, {})
    cache.refuse('m', 'labels wrongly')
    assert cache.load('m', FINGERPRINT) == (PLAN, '', 'labels wrongly')
    cache.store('m', PLAN, FINGERPRINT, {})
    assert cache.load('m', FINGERPRINT).refused == ''


def test_entries_and_clean(cache: PlanCache) -> None:
    cache.store('a', PLAN, FINGERPRINT, {'model': 'a.onnx'})
    cache.path('b').write_bytes(b'foreign')
    names = [(path.name, facts.get('model')) for path, facts in cache.entries()]
    assert names == [('a.plan', 'a.onnx'), ('b.plan', None)]
    with cache.lock('a'):
        pass
    assert [p.name for p in cache.clean()] == ['a.plan', 'b.plan']
    assert list(cache.directory.iterdir()) == []


def test_facts_do_not_override_the_fingerprint(cache: PlanCache) -> None:
    path = cache.store('m', PLAN, FINGERPRINT, {'model': 'x'})
    assert json.loads(path.with_suffix('.json').read_text())['fingerprint']['gpu'] == 'Orin'


def test_models_of_one_name_have_their_own_plans(tmp_path: Path) -> None:
    here, there = plan_name(tmp_path / 'm.onnx', 'fp16', 4, None), plan_name(tmp_path / 'x' / 'm.onnx', 'fp16', 4, None)
    assert here != there
    assert here.startswith('m-fp16-b4-')
    assert plan_name(tmp_path / 'm.onnx', 'fp16', 4, 1).startswith('m-fp16-b4-dla1-')


def test_plans_are_kept_in_the_users_cache_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    assert cache_directory() == tmp_path / 'seg_perception' / 'plans'
    monkeypatch.setenv(CACHE_VARIABLE, '/elsewhere')
    assert cache_directory() == Path('/elsewhere')
