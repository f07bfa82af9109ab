"""Folders, videos and synthetic drives; videos written are videos read."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from seg_perception.camera import CameraModel
from seg_perception.errors import CameraError, ConfigError, RecordingError
from seg_perception.frames import to_rgb
from seg_perception.io import messages
from seg_perception.io.recording import FIRST_STAMP_NS, RecordingOptions, expand_sources, open_recording
from seg_perception.io.spool import Spool
from seg_perception.io.video import VideoWriter


def test_a_folder_in_the_order_of_its_numbers(folder, made):
    recording = open_recording(str(folder), RecordingOptions(rate_hz=20.0))
    frames = list(recording.frames())
    assert recording.frame_count == 5
    assert [f.stamp_ns - FIRST_STAMP_NS for f in frames] == [i * 50_000_000 for i in range(5)]
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(to_rgb(frame.image), made.picture(i))
        assert frame.camera_model == made.camera
        assert frame.vehicle_from_camera == made.mounted


def test_a_folder_as_messages_is_a_camera_driver(folder, made):
    recording = open_recording(str(folder), RecordingOptions(camera='rear'))
    played = list(recording.messages())
    assert [m.topic for m in played] == ['/tf_static', *('/rear/camera_info', '/rear/image_raw') * 5]
    assert recording.image_topics == (('/rear/image_raw', messages.IMAGE),)
    (transform,) = messages.deserialize(played[0].data, messages.TF).transforms
    assert (transform.header.frame_id, transform.child_frame_id) == ('base_link', 'rear_optical_frame')
    image = messages.deserialize(played[2].data, messages.IMAGE)
    assert (image.width, image.height, image.encoding, image.step) == (96, 64, 'bgr8', 288)
    np.testing.assert_array_equal(image.data.reshape(64, 96, 3)[:, :, ::-1], made.picture(0))


def test_a_file_that_is_no_image_is_left_out_and_named(folder):
    (folder / 'frame10.png').write_bytes(b'broken')
    recording = open_recording(str(folder))
    stamps = [f.stamp_ns for f in recording.frames()]
    assert [(s - FIRST_STAMP_NS) // 100_000_000 for s in stamps] == [0, 1, 3, 4]
    assert 'frame10.png: left out' in recording.problems[0]


def test_frames_of_files_keep_their_names(folder):
    (folder / 'frame10.jpg').write_bytes((folder / 'frame10.png').read_bytes())
    names = [f.name for f in open_recording(str(folder)).frames()]
    stems = {p.stem for p in folder.glob('*.png')} - {'frame10'}
    assert sorted(names) == sorted({*stems, 'frame10.jpg', 'frame10.png'})


def test_a_calibration_may_say_no_more_than_size_and_matrix(folder):
    numbers = 'image_width: 96\nimage_height: 64\ncamera_matrix: [80, 0, 47.5, 0, 80, 31.5, 0, 0, 1]\n'
    (folder.parent / 'camera_info.yaml').write_text(numbers)
    frame = next(open_recording(str(folder)).frames())
    assert frame.camera_model == CameraModel(96, 64, 80.0, 80.0, 47.5, 31.5)
    assert frame.vehicle_from_camera is None


def test_an_unusable_calibration_file_is_an_error(folder):
    (folder / 'camera_info.yaml').write_text('image_width: 96\n')
    with pytest.raises(CameraError, match=r"not a calibration \(KeyError\('image_height'\)\)"):
        open_recording(str(folder))
    numbers = 'image_width: 96\nimage_height: 64\ncamera_matrix: [-80, 0, 47.5, 0, 80, 31.5, 0, 0, 1]\n'
    (folder / 'camera_info.yaml').write_text(numbers)
    with pytest.raises(CameraError, match=r'camera_info.yaml: focal lengths are -80'):
        open_recording(str(folder))


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(RecordingError, match='no image in this folder'):
        open_recording(str(tmp_path))


@pytest.fixture
def video(tmp_path, made):
    """Eight frames at 12.5 per second with one frame missing after the third: a gap in the stamps."""
    path = tmp_path / 'drive.mp4'
    with VideoWriter(path, 12.5, (96, 64), crf=10) as writer:
        for i in range(8):
            writer.write(made.picture(i), (i + (i >= 3)) / 12.5)
    return path


def test_a_video_keeps_its_own_stamps(video, made):
    recording = open_recording(str(video))
    frames = list(recording.frames())
    assert recording.frame_count == 8
    assert [f.stamp_ns - FIRST_STAMP_NS for f in frames] == [i * 80_000_000 for i in (0, 1, 2, 4, 5, 6, 7, 8)]
    assert np.abs(to_rgb(frames[3].image).astype(int) - made.picture(3)).mean() < 6
    assert frames[0].camera_model is None
    steady = open_recording(str(video), RecordingOptions(rate_hz=10.0))
    assert [f.stamp_ns - FIRST_STAMP_NS for f in steady.frames()] == [i * 100_000_000 for i in range(8)]


def test_a_video_that_browsers_play(video):
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ('h264', 'yuv420p')
        assert stream.duration * stream.time_base == Fraction(9 * 2, 25)
    data = video.read_bytes()
    assert data.index(b'moov') < data.index(b'mdat')


def test_a_calibration_beside_a_video_must_carry_its_name(video, folder, made):
    (video.parent / 'drive.camera_info.yaml').write_text((folder.parent / 'camera_info.yaml').read_text())
    assert next(open_recording(str(video)).frames()).camera_model == made.camera
    (video.parent / 'drive.camera_info.yaml').unlink()
    assert next(open_recording(str(video)).frames()).camera_model is None


def test_a_video_cut_off_gives_what_comes_before(video, tmp_path, made):
    """Without its index at the front an mp4 is not readable; with it, the frames before the cut are."""
    whole = tmp_path / 'long.mp4'
    rng = np.random.default_rng(0)
    with VideoWriter(whole, 25.0, (96, 64)) as writer:
        for _ in range(40):
            writer.write(rng.integers(0, 255, (64, 96, 3), np.uint8))
    data = whole.read_bytes()
    part = tmp_path / 'part.mp4'
    part.write_bytes(data[: len(data) * 6 // 10])
    recording = open_recording(str(part))
    count = len(list(recording.frames()))
    assert 10 < count < 40
    assert any('announces 40 frames' in p for p in recording.problems)


def test_foreign_and_missing_files_are_refused(tmp_path):
    (tmp_path / 'notes.mp4').write_text('no video')
    with pytest.raises(RecordingError, match='no video stream'):
        open_recording(str(tmp_path / 'notes.mp4'))
    with pytest.raises(RecordingError, match='no such file or folder'):
        open_recording(str(tmp_path / 'nothing'))


@pytest.mark.parametrize('options', [{'topics': ('/front/image_raw',)}, {'odom_topic': '/odom'}])
def test_topics_are_refused_where_there_are_none(folder, video, options):
    for source in (folder, video, 'scene:7'):
        with pytest.raises(ConfigError, match='has no topics; leave /'):
            open_recording(str(source), RecordingOptions(**options))


def test_an_unwritable_video_is_an_error(tmp_path):
    with pytest.raises(RecordingError, match='cannot write the video'):
        VideoWriter(tmp_path / 'nowhere' / 'x.mp4', 10.0, (96, 64))


def test_a_synthetic_drive_has_everything():
    recording = open_recording('scene:5', RecordingOptions(rate_hz=2.0))
    frame = next(recording.frames())
    assert recording.frame_count == len(recording.drive)
    assert (frame.camera, frame.image.width, frame.image.encoding) == ('front', 1280, 'rgb8')
    model, pose = recording.drive.cameras['front']
    assert (frame.camera_model, frame.vehicle_from_camera) == (model, pose)
    assert frame.odom_from_vehicle == recording.drive.odom_from_vehicle(0.0)
    topics = [m.topic for m, _ in zip(recording.messages(), range(5), strict=False)]
    assert topics == ['/tf_static', '/odom', '/tf', '/front/camera_info', '/front/image_raw']


@pytest.mark.parametrize('source', ['scene:', 'scene:x', 'scene:-1'])
def test_a_bad_seed_is_refused(source):
    with pytest.raises(RecordingError, match='is not a whole number'):
        open_recording(source)


def test_a_synthetic_drive_takes_no_calibration():
    with pytest.raises(ConfigError, match='brings its own calibration'):
        open_recording('scene:1', RecordingOptions(extrinsics=(0.0,) * 6))


def test_a_spool_gives_the_same_messages_again(folder):
    recording = open_recording(str(folder))
    seen = []
    spool = Spool(recording, seen.append)
    assert list(spool.messages()) == list(spool.messages()) == seen == list(recording.messages())
    spool.close()


def test_patterns_are_expanded_in_order_and_once(tmp_path):
    for name in ('b.mp4', 'a.mp4', 'c.bag'):
        (tmp_path / name).touch()
    found = expand_sources([str(tmp_path / 'c.bag'), str(tmp_path / '*.mp4'), str(tmp_path / '*'), 'scene:3'])
    assert [f.rpartition('/')[2] for f in found] == ['c.bag', 'a.mp4', 'b.mp4', 'scene:3']
    with pytest.raises(RecordingError, match='no file matches'):
        expand_sources([str(tmp_path / '*.mcap')])


@pytest.mark.parametrize(
    ('option', 'value'),
    [
        ('rate_hz', 0.0),
        ('rate_hz', -1.0),
        ('extrinsics', (1.0, 2.0)),
        ('extrinsics', (1.0, 0.0, 1.4, float('nan'), 0.0, 0.0)),
        ('camera', 'front cam'),
        ('camera', ''),
        ('camera', '2nd'),
    ],
)
def test_options_out_of_range_are_refused(option, value):
    with pytest.raises(ConfigError, match='expected'):
        RecordingOptions(**{option: value})
