"""Bags of every format give the same frames, with the calibration, pose and odometry of their stamps."""

from __future__ import annotations

import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from seg_perception.errors import ConfigError, RecordingError
from seg_perception.frames import from_array, to_rgb
from seg_perception.io import messages
from seg_perception.io.bag_writer import BagWriter
from seg_perception.io.recording import RecordingOptions, open_recording


def read(path, **options):
    recording = open_recording(str(path), RecordingOptions(**options))
    try:
        return recording, list(recording.frames())
    finally:
        recording.close()


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_frames_of_a_rosbag2_carry_stamp_calibration_and_pose(write_bag, made, storage):
    recording, frames = read(write_bag(4, storage=storage))
    assert recording.cameras == ('front',)
    assert recording.frame_count == 4
    assert recording.problems == []
    assert [f.stamp_ns for f in frames] == [made.stamp(i) for i in range(4)]
    for i, frame in enumerate(frames):
        assert frame.frame_id == made.frame_id
        np.testing.assert_array_equal(to_rgb(frame.image), made.picture(i))
        assert frame.camera_model == made.camera
        np.testing.assert_allclose(frame.vehicle_from_camera.translation_m, made.mounted.translation_m)
        np.testing.assert_allclose(frame.vehicle_from_camera.rotation, made.mounted.rotation, atol=1e-12)
        assert frame.odom_from_vehicle is None


@pytest.mark.parametrize('mode', ['FILE', 'MESSAGE', 'STORAGE'])
def test_compressed_rosbag2(tmp_path, made, mode):
    writer = Writer(tmp_path / 'bag', version=8, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode[mode], CompressionFormat.ZSTD)
    store = messages.typestore()
    with writer:
        known = {}
        for m in made.messages(3):
            if m.topic not in known:
                known[m.topic] = writer.add_connection(m.topic, m.msgtype, typestore=store)
            writer.write(known[m.topic], m.stamp_ns, m.data)
    recording, frames = read(tmp_path / 'bag')
    assert recording.problems == []
    assert [f.stamp_ns for f in frames] == [made.stamp(i) for i in range(3)]
    np.testing.assert_array_equal(to_rgb(frames[2].image), made.picture(2))


@pytest.mark.parametrize('form', ['png', 'jpg'])
def test_compressed_images_are_decoded(write_bag, made, form):
    _, frames = read(write_bag(2, compressed=form))
    tolerance = 0 if form == 'png' else 60
    difference = np.abs(to_rgb(frames[1].image).astype(int) - made.picture(1))
    assert difference.max() <= tolerance
    assert frames[1].camera_model == made.camera


def test_rosbag1(tmp_path, made):
    ros1 = get_typestore(Stores.ROS1_NOETIC)
    ros1.register(get_types_from_msg('geometry_msgs/TransformStamped[] transforms', messages.TF))
    path = tmp_path / 'drive.bag'
    with Rosbag1Writer(path) as writer:
        known = {}
        for m in made.messages(3, odometry=True):
            if m.topic not in known:
                known[m.topic] = writer.add_connection(m.topic, m.msgtype, typestore=ros1)
            writer.write(known[m.topic], m.stamp_ns, messages.typestore().cdr_to_ros1(m.data, m.msgtype))
    recording, frames = read(path)
    assert recording.problems == []
    assert [f.stamp_ns for f in frames] == [made.stamp(i) for i in range(3)]
    assert frames[0].camera_model == made.camera
    np.testing.assert_allclose(frames[0].vehicle_from_camera.translation_m, made.mounted.translation_m)
    np.testing.assert_array_equal(to_rgb(frames[2].image), made.picture(2))


def test_odometry_is_interpolated_at_the_stamp_and_never_extrapolated(write_bag, made):
    """Odometry i lies half a period after frame i and says x = i, so that frame i sees x = i - 0.5."""
    _, frames = read(write_bag(5, odometry=True))
    assert frames[0].odom_from_vehicle is None
    for i in range(1, 5):
        assert frames[i].odom_from_vehicle.translation_m[0] == pytest.approx(i - 0.5)


def test_moving_tf_is_followed(tmp_path, made):
    """A camera on a mast that rises 1 m between two samples; TF holds odom -> base_link too."""
    from seg_perception.camera import Pose

    with BagWriter(tmp_path / 'bag') as bag:
        for k in range(3):
            at = made.stamp(0) + k * made.period_ns
            for parent, child, pose in (
                ('base_link', 'mast', Pose((0.0, 0.0, 1.0 + k))),
                ('odom', 'base_link', Pose((10.0 * k, 0.0, 0.0))),
            ):
                bag.write(messages.moving_transform(at, parent, child, pose))
        bag.write(messages.static_transform(made.stamp(0), 'mast', made.frame_id, Pose((0.5, 0.0, 0.0))))
        at = made.stamp(0) + made.period_ns // 4
        image = messages.image('/front/image_raw', at, made.frame_id, from_array(made.picture(0), 'rgb8'))
        bag.write(image)
    _, frames = read(tmp_path / 'bag')
    np.testing.assert_allclose(frames[0].vehicle_from_camera.translation_m, (0.5, 0.0, 1.25))
    np.testing.assert_allclose(frames[0].odom_from_vehicle.translation_m, (2.5, 0.0, 0.0))


def test_static_tf_and_camera_info_recorded_late_hold_from_the_first_frame(tmp_path, made):
    late = 10_000_000_000
    with BagWriter(tmp_path / 'bag') as bag:
        for m in made.messages(3):
            if m.topic == '/front/camera_info':
                m = m._replace(data=messages.with_header_stamp(m.data, m.stamp_ns + late))
            bag.write(m if m.topic == '/front/image_raw' else m._replace(stamp_ns=m.stamp_ns + late))
    _, frames = read(tmp_path / 'bag')
    assert frames[0].camera_model == made.camera
    assert frames[0].vehicle_from_camera is not None


def test_frames_recorded_out_of_order_come_in_stamp_order(tmp_path, made):
    stills = [m for m in made.messages(4) if m.topic == '/front/image_raw']
    with BagWriter(tmp_path / 'bag') as bag:
        for log_ns, still in zip((0, 1, 2, 3), (stills[1], stills[0], stills[3], stills[2]), strict=True):
            bag.write(still._replace(stamp_ns=made.stamp(0) + log_ns))
    _, frames = read(tmp_path / 'bag')
    assert [f.stamp_ns for f in frames] == [made.stamp(i) for i in range(4)]


def test_images_without_stamps_have_the_time_of_their_recording(tmp_path, made):
    with BagWriter(tmp_path / 'bag') as bag:
        for m in made.messages(3):
            unset = m.topic.startswith('/front/')
            bag.write(m._replace(data=messages.with_header_stamp(m.data, 0)) if unset else m)
            if m.msgtype == messages.IMAGE:
                recorded = m.stamp_ns
    recording, frames = read(tmp_path / 'bag')
    assert len({f.stamp_ns for f in frames}) == 3
    assert frames[-1].stamp_ns == recorded
    assert [f.camera_model for f in frames] == [made.camera] * len(frames)
    assert any('3 x /front/image_raw: stamp 0' in p for p in recording.problems)
    recording = open_recording(str(tmp_path / 'bag'))
    played = [messages.header_stamp(m.data) for m in recording.messages() if m.msgtype == messages.IMAGE]
    said = list(recording.problems)
    assert len(list(recording.messages())) > 0  # a loop reads it again
    recording.close()
    assert played == [f.stamp_ns for f in frames]
    assert recording.problems == said


def test_images_of_one_stamp_are_pointed_out(tmp_path, made):
    with BagWriter(tmp_path / 'bag') as bag:
        for m in made.messages(3):
            stuck = m.msgtype == messages.IMAGE
            bag.write(m._replace(data=messages.with_header_stamp(m.data, made.stamp(0))) if stuck else m)
    recording, frames = read(tmp_path / 'bag')
    assert len(frames) == 3
    assert any('2 x /front/image_raw: same stamp as the image before' in p for p in recording.problems)


def test_a_calibration_that_changes_belongs_to_the_frames_after_it(tmp_path, made):
    half = made.camera.resized(48, 32)
    with BagWriter(tmp_path / 'bag') as bag:
        for i in range(4):
            camera = made.camera if i < 2 else half
            pixels = made.picture(i) if i < 2 else made.picture(i)[::2, ::2]
            bag.write(messages.camera_info('/front/camera_info', made.stamp(i), made.frame_id, camera))
            bag.write(messages.image('/front/image_raw', made.stamp(i), made.frame_id, from_array(pixels, 'rgb8')))
    _, frames = read(tmp_path / 'bag')
    assert [(f.image.width, f.camera_model.width) for f in frames] == [(96, 96), (96, 96), (48, 48), (48, 48)]


def test_a_rate_for_a_bag_is_refused(write_bag):
    with pytest.raises(ConfigError, match='stamps of its own'):
        open_recording(str(write_bag(1)), RecordingOptions(rate_hz=5.0))


def test_no_image_topic_says_what_is_there(tmp_path, made):
    with BagWriter(tmp_path / 'bag') as bag:
        bag.write(messages.camera_info('/front/camera_info', 1, 'x', made.camera))
    with pytest.raises(RecordingError, match=r'no image in this bag, only /front/camera_info'):
        open_recording(str(tmp_path / 'bag'))


def test_an_empty_bag_is_refused(tmp_path):
    with BagWriter(tmp_path / 'bag') as bag:
        bag.add_topic('/front/image_raw', messages.IMAGE)
    with pytest.raises(RecordingError, match='no message at all'):
        open_recording(str(tmp_path / 'bag'))


@pytest.fixture
def two_cameras(tmp_path, made):
    with BagWriter(tmp_path / 'two') as bag:
        for pair in zip(
            made.messages(3, camera='left', tf=False), made.messages(3, camera='right', tf=False), strict=True
        ):
            for m in pair:
                bag.write(m)
    return tmp_path / 'two'


def test_several_image_topics_are_listed_and_can_be_chosen(two_cameras):
    with pytest.raises(RecordingError, match=r'several image topics: /left/image_raw \(3 x Image\), /right/image_raw'):
        open_recording(str(two_cameras))
    recording, frames = read(two_cameras, topics=('/right/image_raw',))
    assert recording.cameras == ('right',)
    assert [f.camera for f in frames] == ['right'] * 3
    recording, frames = read(two_cameras, all_topics=True)
    assert recording.cameras == ('left', 'right')
    assert [f.camera for f in frames] == ['left', 'right'] * 3
    with pytest.raises(RecordingError, match=r'no images on /rear/image_raw; image topics are /left'):
        open_recording(str(two_cameras), RecordingOptions(topics=('/rear/image_raw',)))


def test_several_odometry_topics_are_not_guessed(tmp_path, made):
    with BagWriter(tmp_path / 'bag') as bag:
        for m in made.messages(3, odometry=True):
            bag.write(m)
            if m.topic == '/odom':
                bag.write(m._replace(topic='/wheel_odom'))
    recording, frames = read(tmp_path / 'bag')
    assert [f.odom_from_vehicle for f in frames] == [None] * 3
    assert 'several odometry topics' in recording.problems[0]
    _, frames = read(tmp_path / 'bag', odom_topic='/wheel_odom')
    assert frames[1].odom_from_vehicle is not None


def test_frames_that_cannot_be_decoded_are_counted_and_left_out(tmp_path, made):
    depth = from_array(np.zeros((4, 4), np.uint8), '32FC1')
    with BagWriter(tmp_path / 'bag') as bag:
        for i in range(3):
            still = from_array(made.picture(i), 'rgb8') if i != 1 else depth
            bag.write(messages.image('/front/image_raw', made.stamp(i), made.frame_id, still))
    recording, frames = read(tmp_path / 'bag')
    assert [f.stamp_ns for f in frames] == [made.stamp(0), made.stamp(2)]
    assert "1 x /front/image_raw: encoding '32FC1' is not supported" in recording.problems[0]


def test_an_unknown_compression_is_named(tmp_path, made):
    with BagWriter(tmp_path / 'bag') as bag:
        data = np.frombuffer(b'not a picture', np.uint8)
        bag.write(messages.compressed_image('/cam/image/compressed', 1, 'x', data, 'h265'))
    recording, frames = read(tmp_path / 'bag')
    assert frames == []
    assert "format 'h265'" in recording.problems[0]


def test_an_unusable_calibration_leaves_the_frames_without(tmp_path, made):
    info = messages.camera_info('/front/camera_info', made.stamp(0), made.frame_id, made.camera)
    decoded = messages.deserialize(info.data, messages.CAMERA_INFO)
    decoded.k = np.zeros(9)
    with BagWriter(tmp_path / 'bag') as bag:
        bag.write(messages.pack(info.topic, info.msgtype, info.stamp_ns, decoded))
        bag.write(next(m for m in made.messages(1) if m.topic == '/front/image_raw'))
    recording, frames = read(tmp_path / 'bag')
    assert frames[0].camera_model is None
    assert 'the camera is not calibrated' in recording.problems[0]


def test_names_options_and_pose_replace_those_of_the_bag(write_bag, folder, made):
    """`play` of a bag as another camera, with a calibration that it did not hold."""
    path = write_bag(2, info=False, tf=False)
    options = RecordingOptions(
        camera='rear', camera_info=folder.parent / 'camera_info.yaml', extrinsics=(2.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    )
    recording = open_recording(str(path), options)
    played = list(recording.messages())
    frames = list(recording.frames())
    recording.close()
    assert [m.topic for m in played] == [
        '/tf_static',
        *('/rear/camera_info', '/rear/image_raw') * 2,
    ]
    assert messages.camera_model_of(messages.deserialize(played[1].data, messages.CAMERA_INFO)) == made.camera
    assert frames[0].camera == 'rear'
    assert frames[0].vehicle_from_camera.translation_m == (2.0, 0.0, 1.0)
