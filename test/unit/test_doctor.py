"""The doctor's checks on written-down snapshots: what cannot be brought about on every machine."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from seg_perception.doctor import Finding, Snapshot, Status, diagnose
from seg_perception.doctor.checks_pose import chain
from seg_perception.doctor.checks_transport import lost
from seg_perception.doctor.matching import mismatch
from seg_perception.doctor.snapshot import (
    Arrival,
    CameraSnapshot,
    ClockSnapshot,
    DiagnosticSample,
    Edge,
    Endpoint,
    ImageSample,
    InfoSample,
    MachineSnapshot,
    NodeSnapshot,
    OdometrySample,
    Qos,
    TfSnapshot,
    Topic,
    TransportSnapshot,
)

S = 1_000_000_000
NOW = 1_700_000_000 * S
IMAGE, INFO, TF = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CameraInfo', 'tf2_msgs/msg/TFMessage'
DRIVER = Endpoint('/driver', IMAGE, Qos())
STATIC = Endpoint('/rsp', TF, Qos('reliable', 'transient_local'))


def camera(**changes: Any) -> CameraSnapshot:
    """Return a good camera: 40 images in 2 s, 10 ms old on arrival."""
    arrivals = tuple(Arrival(NOW + i * S // 20, NOW + i * S // 20 + S // 100, None, i + 1) for i in range(40))
    info = InfoSample(4, 3, (5.0, 0.0, 2.0, 0.0, 5.0, 1.5, 0.0, 0.0, 1.0), (), 'plumb_bob', frame_id='optical')
    good = CameraSnapshot(
        'front',
        Topic('/front/image_raw', (DRIVER,)),
        Topic('/front/camera_info', (DRIVER._replace(type=INFO),)),
        images=arrivals,
        samples=(ImageSample(bytes(36), 'rgb8', 4, 3, 12, 'optical', 100),),
        infos=arrivals,
        calibration=info,
    )
    return replace(good, **changes)


def system(*cameras: CameraSnapshot, **changes: Any) -> Snapshot:
    """Return a healthy system of an active node and static TF."""
    good = Snapshot(
        MachineSnapshot(
            {'numpy': '2.2.6', 'opencv': '4.14', 'pycuda': '2026.1'},
            'Orin',
            'tensorrt 10.3',
            '',
            'm.onnx',
            '',
            'ok',
            ('fp16',),
        ),
        TransportSnapshot('rmw_fastrtps_cpp', segment_bytes=1 << 26, shm_free_bytes=1 << 30),
        duration_s=2.0,
        ended_ns=NOW + 2 * S,
        tf=TfSnapshot(
            True,
            static=Topic('/tf_static', (STATIC,)),
            edges={'optical': (Edge('mast', True, 0),), 'mast': (Edge('base_link', True, 0),)},
        ),
        node=NodeSnapshot(
            '/seg_perception',
            count=1,
            state='active',
            parameters={'use_sim_time': False, 'odometry': 'topic'},
            diagnostics=(DiagnosticSample('seg_perception: engine', 0, 'running', {'backend': 'tensorrt'}),),
        ),
        cameras=cameras or (camera(),),
    )
    return replace(good, **changes)


def problems(snapshot: Snapshot) -> list[tuple[str, str]]:
    return [(f.status.value, f.check) for f in diagnose(snapshot) if f.status is not Status.OK]


def only(snapshot: Snapshot) -> Finding:
    """Return the one finding that is not ok."""
    (finding,) = [f for f in diagnose(snapshot) if f.status is not Status.OK]
    assert finding.remedy
    return finding


def test_a_healthy_system_has_no_problem() -> None:
    assert problems(system()) == []


def test_cameras_come_last_each_in_one_block() -> None:
    subjects = [f.subject for f in diagnose(system(camera(), camera(name='left')))]
    blocks = [s for s, before in zip(subjects, ['', *subjects], strict=False) if s != before]
    assert blocks[:4] == ['machine', 'transport', 'clock', 'node']
    assert {'camera front', 'camera left'} == set(blocks[4:])


def test_the_checks_need_no_ros() -> None:
    code = 'import sys, seg_perception.doctor, seg_perception.doctor.machine; print("rclpy" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout == 'False\n'


def with_edges(**edges: tuple[Edge, ...]) -> Snapshot:
    return system(tf=replace(system().tf, edges=edges))


def test_a_missing_frame_is_named_with_the_frames_there_are() -> None:
    finding = only(with_edges(lidar=(Edge('base_link', True, 0),)))
    assert finding.status is Status.ERROR
    assert "frame 'optical' is not in TF (frames in TF: base_link, lidar)" in finding.text
    assert '--frame-id base_link --child-frame-id optical' in finding.remedy


def test_a_broken_chain_names_its_last_frame() -> None:
    assert "the chain ends at 'mast'" in only(with_edges(optical=(Edge('mast', True, 0),))).text


def test_a_loop_in_tf_ends() -> None:
    way = chain({'a': (Edge('b', True, 0),), 'b': (Edge('a', True, 0),)}, 'a', 'base_link')
    assert way == (('a', 'b'), False)


def test_a_frame_with_two_parents_is_an_error() -> None:
    finding = only(with_edges(optical=(Edge('pole', True, 0), Edge('base_link', True, 0))))
    assert "'optical' has several parents: base_link, pole" in finding.text


def test_a_transform_that_stopped_is_an_error_by_its_age() -> None:
    stopped = Edge('base_link', False, camera().images[-1].stamp_ns - 3 * S)
    assert 'base_link <- optical is 3.00 s older than the image' in only(with_edges(optical=(stopped,))).text


def test_a_transform_that_moves_and_is_new_is_ok() -> None:
    moving = Edge('base_link', False, camera().images[-1].stamp_ns - S // 10)
    assert problems(with_edges(optical=(moving,))) == []


def beside_another_domain(**topics: str) -> list[tuple[str, str]]:
    """Return the problems of a node whose camera does not publish, while programs run in domain 7 of this machine."""
    silent = camera(image=Topic('/front/image_raw'), images=(), samples=(), infos=(), calibration=None)
    transport = replace(system().transport, domains_here=(0, 7))
    return problems(system(silent, transport=transport, topics=topics))


def test_another_domain_is_suspected_only_when_this_one_has_no_image() -> None:
    suspected = ('warning', 'domain')
    assert suspected in beside_another_domain()
    assert suspected in beside_another_domain(**{'/front/camera_info': INFO})
    compressed = {'/front/image_raw/compressed': 'sensor_msgs/msg/CompressedImage'}
    assert suspected not in beside_another_domain(**compressed)


def test_a_camera_is_not_told_to_take_the_topic_of_another() -> None:
    left = camera(name='left', image=Topic('/left/image_raw'), images=(), samples=(), infos=(), calibration=None)
    topics = {'/front/image_raw': IMAGE}
    (finding,) = [f for f in diagnose(system(camera(), left, topics=topics)) if f.check == 'publisher' and f.remedy]
    assert finding.remedy == 'start the camera driver; no other image topic exists (ros2 topic list -t)'
    (finding,) = [
        f
        for f in diagnose(system(camera(), left, topics={**topics, '/cam1/image_raw': IMAGE}))
        if f.check == 'publisher' and f.remedy
    ]
    assert 'set `left.image_topic` to /cam1/image_raw (image topics: /cam1/image_raw)' in finding.remedy


def test_tf_that_cannot_be_read_is_a_warning_not_a_claim() -> None:
    finding = only(system(tf=replace(system().tf, readable=False, edges={})))
    assert (finding.status, finding.check) == (Status.WARNING, 'pose')
    assert 'tf2_msgs is not installed' in finding.text


def test_extrinsics_need_no_tf() -> None:
    assert problems(system(camera(extrinsics=True), tf=TfSnapshot(False))) == []


def test_tf_static_without_latching_does_not_reach_the_node() -> None:
    publisher = STATIC._replace(qos=Qos('reliable', 'volatile'))
    node = Endpoint('/seg_perception', TF, Qos('reliable', 'transient_local'))
    tf = replace(system().tf, static=Topic('/tf_static', (publisher,), (node,)))
    assert only(system(tf=tf)).text.endswith('durability: volatile is offered, transient_local requested')


@pytest.mark.parametrize(
    ('offered', 'requested', 'policy'),
    [
        (Qos('best_effort'), Qos('reliable'), 'reliability'),
        (Qos('reliable'), Qos('best_effort'), ''),
        (Qos(durability='volatile'), Qos(durability='transient_local'), 'durability'),
        (Qos(), Qos(deadline_s=0.1), 'deadline'),
        (Qos(deadline_s=0.05), Qos(deadline_s=0.1), ''),
        (Qos(), Qos(liveliness='manual_by_topic'), 'liveliness'),
        (Qos(lease_s=math.inf), Qos(lease_s=1.0), 'liveliness lease'),
        (Qos('unknown'), Qos('reliable'), ''),
    ],
)
def test_qos_is_judged_as_dds_does(offered: Qos, requested: Qos, policy: str) -> None:
    reason = mismatch(Endpoint('/a', IMAGE, offered), Endpoint('/b', IMAGE, requested))
    assert reason.partition(':')[0] == policy


def test_qos_against_the_node_is_an_error_against_others_a_warning() -> None:
    for node, status in (('/seg_perception', Status.ERROR), ('/rviz', Status.WARNING)):
        topic = Topic('/front/image_raw', (DRIVER,), (Endpoint(node, IMAGE, Qos('reliable')),))
        assert only(system(camera(image=topic))).status is status


def test_loss_is_counted_by_sequence_numbers() -> None:
    assert lost(camera(images=tuple(a for a in camera().images if a.sequence not in (5, 6, 7)))) == (3, 40)


def test_loss_is_counted_by_camera_info_where_there_are_no_numbers() -> None:
    images = tuple(a._replace(sequence=None) for a in camera().images)
    assert lost(camera(images=images[::4])) == (27, 37)
    assert lost(camera(images=images[::4], infos=())) is None
    assert lost(camera(images=images[7:8])) == (39, 40)
    assert lost(camera(images=())) is None


def test_a_small_loss_of_small_images_is_a_warning_about_load() -> None:
    four = camera().images * 4
    images = tuple(a._replace(sequence=i + 1, stamp_ns=NOW + i) for i, a in enumerate(four) if i != 100)
    finding = next(f for f in diagnose(system(camera(images=images))) if f.check == 'loss')
    assert (finding.status, finding.text) == (Status.WARNING, '1 of 160 images lost (1%), 0 KiB each')


def test_a_full_dev_shm_is_an_error() -> None:
    transport = replace(system().transport, shm_free_bytes=1 << 20)
    assert '/dev/shm has 1.0 MiB free' in only(system(transport=transport)).text


def test_another_middleware_is_a_warning() -> None:
    assert only(system(transport=TransportSnapshot('rmw_cyclonedds_cpp'))).check == 'rmw'


def test_a_camera_that_died_while_listened_to_is_an_error() -> None:
    assert 'silent for longer' in only(system(ended_ns=NOW + 10 * S)).text


def test_use_sim_time_without_a_clock_is_an_error() -> None:
    node = replace(system().node, parameters={'use_sim_time': True})
    assert 'nothing publishes /clock' in only(system(node=node)).text


def test_a_replay_without_use_sim_time_is_told_by_its_clock() -> None:
    clock = ClockSnapshot(Topic('/clock', (Endpoint('/player', 'rosgraph_msgs/msg/Clock', Qos()),)), (1, 2))
    old = tuple(a._replace(stamp_ns=a.stamp_ns - 999 * S) for a in camera().images)
    finding = only(system(camera(images=old, infos=old), clock=clock))
    assert finding.text == 'stamps are 999 s behind system time, and /clock is published: a replay'
    assert 'use_sim_time true' in finding.remedy


def test_odometry_of_another_frame_is_an_error() -> None:
    odom = Topic('/odom', (Endpoint('/ekf', 'nav_msgs/msg/Odometry', Qos()),))
    sample = OdometrySample('odom', 'base_footprint', Arrival(NOW, NOW, None, None))
    node = replace(system().node, odometry=odom, odometry_sample=sample)
    assert "odometry is of frame 'base_footprint'; expected 'base_link'" in only(system(node=node)).text


def test_an_error_the_node_reports_is_an_error() -> None:
    node = replace(system().node, diagnostics=(DiagnosticSample('seg_perception: engine', 2, 'engine failed', {}),))
    assert (only(system(node=node)).status, only(system(node=node)).text) == (Status.ERROR, 'engine: engine failed')


@pytest.mark.parametrize(('backend', 'status'), [('auto', 'warning'), ('tensorrt', 'error'), ('onnxruntime', None)])
def test_a_missing_gpu_weighs_by_the_backend_that_is_wanted(backend: str, status: str | None) -> None:
    node = replace(system().node, parameters={'backend': backend})
    good = system().machine
    for bad in (replace(good, gpu=''), replace(good, versions={**good.versions, 'pycuda': None})):
        assert problems(system(node=node, machine=bad)) == ([(status, 'tensorrt')] if status else [])
