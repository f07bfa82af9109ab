"""Evaluation through the pipeline, with an engine whose labels the test knows."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from seg_perception.cli import prelabel as prelabel_module
from seg_perception.cli.evaluate import command
from seg_perception.engine.base import Prediction
from seg_perception.engine.fake import FakeEngine
from seg_perception.errors import ConfigError, DataError, ModelError, RecordingError
from seg_perception.evaluation.truth import read_truth_table
from seg_perception.labels import DEFAULT_LABELS, Role

ENGINES = Path(__file__).parents[2] / 'engines'
CLASSES = 'id,name,role\n3,Asphalt,road\n5,Paint,lane\n7,Car,obstacle\n8,Sky,other\n9,Unknown,void\n'
SIZE = (64, 96)
ASPHALT, PAINT, CAR, SKY, UNKNOWN = 3, 5, 7, 8, 9


class PaintedEngine(FakeEngine):
    """Labels by palette colour, with a confidence of the test's choice."""

    confidence = 255

    def infer(self, n: int) -> Prediction:
        labels, confidence = super().infer(n)
        confidence[:] = self.confidence
        return Prediction(labels, confidence)


def street() -> tuple[np.ndarray, np.ndarray]:
    """Model ids and truth ids of the same scene: sky above, road below with a lane and a car."""
    model, truth = np.full(SIZE, 5, np.uint8), np.full(SIZE, SKY, np.uint8)
    for ids, road, lane, car in ((model, 0, 1, 3), (truth, ASPHALT, PAINT, CAR)):
        ids[32:] = road
        ids[32:, 40:56] = lane
        ids[24:44, 4:34] = car
    return model, truth


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """images/, labels/, classes.csv with one frame that the engine labels exactly, and one with a wrong strip."""
    for name in ('images', 'labels'):
        (tmp_path / name).mkdir()
    (tmp_path / 'classes.csv').write_text(CLASSES, encoding='utf-8')
    model, truth = street()
    wrong = model.copy()
    wrong[:32, 64:] = 0
    for name, ids in (('good', model), ('poor', wrong)):
        colors = DEFAULT_LABELS.palette()[ids]
        cv2.imwrite(str(tmp_path / 'images' / f'{name}.png'), cv2.cvtColor(colors, cv2.COLOR_RGB2BGR))
        cv2.imwrite(str(tmp_path / 'labels' / f'{name}.png'), truth)

    def engine(*_: object, **__: object) -> PaintedEngine:
        return PaintedEngine(height=SIZE[0], width=SIZE[1])

    monkeypatch.setattr('seg_perception.cli.evaluate.open_engine', engine)
    monkeypatch.setattr(prelabel_module, 'open_engine', engine)
    return tmp_path


def run(data: Path, *more: str) -> dict[str, object]:
    args = ['m.onnx', '--images', str(data / 'images'), '--labels', str(data / 'labels')]
    args += ['--classes', str(data / 'classes.csv'), '--json', str(data / 'r.json'), *more]
    result = CliRunner().invoke(command, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads((data / 'r.json').read_text(encoding='utf-8'))


def test_exact_labels_score_one(data: Path) -> None:
    figures = run(data, '--match', 'good')
    assert figures['iou'] == {'road': 1.0, 'lane': 1.0, 'obstacle': 1.0, 'drivable': 1.0}
    assert figures['boundary_f'] == {'road': 1.0, 'lane': 1.0, 'obstacle': 1.0, 'drivable': 1.0}
    assert (figures['pixel_accuracy'], figures['ece'], figures['frames']) == (1.0, 0.0, 1)


def test_wrong_pixels_count_and_void_ones_do_not(data: Path) -> None:
    figures = run(data, '--match', 'poor')
    drivable = 32 * 96 - 12 * 30
    assert figures['iou']['drivable'] == pytest.approx(drivable / (drivable + 32 * 32), abs=1e-5)
    assert figures['ece'] == pytest.approx(32 * 32 / (64 * 96), abs=1e-5)
    truth = street()[1]
    truth[:32, 64:] = UNKNOWN
    cv2.imwrite(str(data / 'labels' / 'poor.png'), truth)
    figures = run(data, '--match', 'poor')
    assert figures['iou']['drivable'] == 1.0
    assert figures['pixels'] == 64 * 96 - 32 * 32


def test_truth_that_does_not_tell_lanes_apart(data: Path) -> None:
    text = CLASSES.replace('Asphalt,road', 'Asphalt,road+lane').replace('5,Paint,lane\n', '')
    (data / 'classes.csv').write_text(text, encoding='utf-8')
    truth = street()[1]
    truth[truth == PAINT] = ASPHALT
    cv2.imwrite(str(data / 'labels' / 'good.png'), truth)
    figures = run(data, '--match', 'good')
    assert figures['iou'] == {'road': None, 'lane': None, 'obstacle': 1.0, 'drivable': 1.0}
    assert figures['pixel_accuracy'] == 1.0


def test_truth_with_the_models_own_class_names_is_compared_by_class(data: Path) -> None:
    """What the model calls `other` is pavement in the truth, which has the same role."""
    rows = ('3,road,road', '5,lane_marking,lane', '7,vehicle,obstacle', '8,pavement,other', '9,Unknown,void')
    (data / 'classes.csv').write_text('\n'.join(['id,name,role', *rows]), encoding='utf-8')
    figures = run(data, '--match', 'good')
    assert figures['compared_by'] == 'class'
    assert {name for name, iou in figures['iou_class'].items() if iou == 1.0} == {'road', 'lane_marking', 'vehicle'}
    assert (figures['iou_class']['pavement'], figures['iou_class']['other']) == (0.0, 0.0)
    assert figures['pixel_accuracy'] == pytest.approx(1 - np.mean(street()[1] == SKY), abs=1e-5)
    assert figures['role_accuracy'] == 1.0


def test_a_mapping_compares_by_class(data: Path) -> None:
    mapping = data / 'mapping.yaml'
    mapping.write_text(
        'classes: {road: [Asphalt], lane_marking: [Paint], person: [Car], other: [Sky]}\nignore: [Unknown]\n'
    )
    figures = run(data, '--match', 'good', '--mapping', str(mapping))
    assert figures['compared_by'] == 'class'
    assert figures['iou_class']['road'] == 1.0
    assert figures['iou_class']['person'] == 0.0
    assert figures['iou']['obstacle'] == 1.0


def test_the_report_holds_tables_and_pictures(data: Path) -> None:
    figures = run(data, '--report', str(data / 'report'))
    page = (data / 'report' / 'index.html').read_text(encoding='utf-8')
    assert figures['worst_frames'][0]['name'] == 'poor'
    assert page.index('poor') < page.index('good')
    assert page.count('data:image/png;base64,') == 2
    assert page.count('data:image/jpeg;base64,') == 4
    assert f'{figures["iou"]["drivable"]:.4f}' in page


def test_the_card_takes_the_accuracy_of_the_file_it_describes_and_of_no_other(data: Path, monkeypatch) -> None:
    monkeypatch.chdir(data)
    card = json.loads((ENGINES / 'deeplab_fast.json').read_text(encoding='utf-8'))
    entry = card['files'].pop('deeplab_fast.onnx')
    card['files'] = {'fake': entry}
    (data / 'fake.json').write_text(json.dumps(card), encoding='utf-8')
    args = ['m.onnx', '--images', 'images', '--labels', 'labels', '--classes', 'classes.csv', '--card', 'my street']
    refused = CliRunner().invoke(command, args)
    assert isinstance(refused.exception, ModelError)
    assert 'fake.json is no card of this fake' in str(refused.exception)
    entry['sha256'] = PaintedEngine(height=SIZE[0], width=SIZE[1]).spec.sha256
    (data / 'fake.json').write_text(json.dumps(card), encoding='utf-8')
    figures = run(data, '--card', 'my street')
    noted = json.loads((data / 'fake.json').read_text(encoding='utf-8'))['files']['fake']['accuracy']
    assert noted['images'] == 'my street'
    assert noted['drivable'] == pytest.approx(figures['iou']['drivable'], abs=1e-5)
    assert f'{figures["iou"]["drivable"]:.4f}' in (data / 'fake.md').read_text(encoding='utf-8')


def test_the_folder_of_the_figures_is_made(data: Path) -> None:
    args = ['m.onnx', '--images', str(data / 'images'), '--labels', str(data / 'labels')]
    args += ['--classes', str(data / 'classes.csv'), '--json', str(data / 'new' / 'figures.json')]
    CliRunner().invoke(command, args, catch_exceptions=False)
    assert (data / 'new' / 'figures.json').is_file()


def test_bad_truth_is_named(data: Path) -> None:
    label = data / 'labels' / 'good.png'
    cv2.imwrite(str(label), np.full(SIZE, 77, np.uint8))
    with pytest.raises(DataError, match=r'good.png: ids \[77\] are not in .*classes.csv'):
        run(data)
    cv2.imwrite(str(label), np.full((10, 10), SKY, np.uint8))
    with pytest.raises(DataError, match=r'good.png: 10x10, its image is 96x64'):
        run(data)
    label.unlink()
    with pytest.raises(DataError, match=r'good.png: no label at'):
        run(data)
    with pytest.raises(DataError, match="2 images, none of which matches 'zzz'"):
        run(data, '--match', 'zzz')
    with pytest.raises(DataError, match=r"--match 'a\(' is no regular expression"):
        run(data, '--match', 'a(')


def test_a_class_file_without_usable_roles_is_named(data: Path) -> None:
    (data / 'classes.csv').write_text('id,name\n0,Road\n', encoding='utf-8')
    with pytest.raises(ModelError, match=r"classes.csv: the class table lacks \['role'\]"):
        run(data)
    (data / 'classes.csv').write_text('id,name,role\n0,Road,street\n', encoding='utf-8')
    with pytest.raises(ModelError, match=r"class 'Road' has id '0' and role 'street'; expected a number and one of"):
        run(data)
    (data / 'mapping.yaml').write_text('classes: {road: [Street]}\n')
    (data / 'classes.csv').write_text(CLASSES, encoding='utf-8')
    with pytest.raises(ConfigError, match="class 'Street' is not in the data set"):
        run(data, '--mapping', str(data / 'mapping.yaml'))


def test_roles_that_touch_a_group_only_partly_are_open(tmp_path: Path) -> None:
    (tmp_path / 'c.csv').write_text('id,name,role\n0,A,road+lane\n1,B,obstacle\n2,V,void\n', encoding='utf-8')
    table = read_truth_table(tmp_path / 'c.csv')
    assert table.rows(Role.LANE) is None
    assert table.rows(Role.ROAD, Role.LANE).tolist() == [True, False, False]
    assert table.lut()[[0, 1, 2, 3]].tolist() == [0, 1, 255, 255]


def test_foreign_objects_lower_the_confidence_of_an_engine_that_knows_its_colours(data: Path) -> None:
    foreign = run(data, '--match', 'good', '--foreign')['foreign']
    assert foreign['pixels'] > 50
    assert foreign['called_drivable_surely'] <= foreign['called_drivable']


class DoubtingEngine(PaintedEngine):
    """Sure of what has a palette colour, and of nothing else."""

    def infer(self, n: int) -> Prediction:
        labels, _ = super().infer(n)
        exact = (DEFAULT_LABELS.palette()[labels] == self.input(n)).all(-1)
        return Prediction(labels, np.where(exact, 255, 20).astype(np.uint8))


def test_doubt_on_the_objects_has_a_roc_area_near_one(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def engine(*_: object, **__: object) -> DoubtingEngine:
        return DoubtingEngine(height=SIZE[0], width=SIZE[1])

    monkeypatch.setattr('seg_perception.cli.evaluate.open_engine', engine)
    foreign = run(data, '--match', 'good', '--foreign')['foreign']
    assert foreign['auroc'] > 0.8  # the shadows are road, and doubtful too
    assert foreign['called_drivable_surely'] == 0


def prelabel(data: Path, *more: str) -> Path:
    out = data / 'pre'
    args = [str(data / 'images'), '--out', str(out), '--model', 'm.onnx', *more]
    result = CliRunner().invoke(prelabel_module.command, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return out


def test_prelabels_are_what_cvat_imports(data: Path) -> None:
    out = prelabel(data)
    names = (out / 'ImageSets' / 'Segmentation' / 'default.txt').read_text(encoding='utf-8').split()
    assert sorted(names) == ['good', 'poor']  # as the pictures are called
    assert 'road:128,64,128::' in (out / 'labelmap.txt').read_text(encoding='utf-8').splitlines()
    for name in names:
        ids = cv2.imread(str(out / 'labels' / f'{name}.png'), cv2.IMREAD_UNCHANGED)
        colors = cv2.cvtColor(cv2.imread(str(out / 'SegmentationClass' / f'{name}.png')), cv2.COLOR_BGR2RGB)
        assert ids.shape == SIZE
        np.testing.assert_array_equal(colors, DEFAULT_LABELS.palette()[ids])
        assert (out / 'JPEGImages' / f'{name}.jpg').is_file()


def test_the_least_certain_frames_come_first(data: Path) -> None:
    sure = prelabel_module.rank('sure', np.full((10, 10), 255, np.uint8))
    spot = np.full((10, 10), 255, np.uint8)
    spot[0] = 51
    doubtful = prelabel_module.rank('spot', spot)
    assert (sure.uncertainty, sure.least_certain) == (0, 0)
    assert doubtful.uncertainty == pytest.approx(0.08)
    assert doubtful.least_certain == pytest.approx(0.8)
    out = prelabel(data, '--top', '1')
    with (out / 'uncertainty.csv').open(encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1
    assert [p.stem for p in (out / 'labels').iterdir()] == [rows[0]['name']]


def test_prelabel_does_not_mix_with_what_is_there(data: Path) -> None:
    prelabel(data)
    with pytest.raises(RecordingError, match=r'pre: is not empty; give a new folder'):
        prelabel(data)


def test_a_failed_prelabel_leaves_its_folder_to_the_next_try(data: Path) -> None:
    args = [str(data / 'nothing'), '--out', str(data / 'pre'), '--model', 'm.onnx']
    with pytest.raises(RecordingError, match='no such file or folder'):
        CliRunner().invoke(prelabel_module.command, args, catch_exceptions=False)
    prelabel(data)


def test_prelabel_names_what_it_leaves_out(data: Path) -> None:
    (data / 'images' / 'torn.png').write_bytes(b'no picture')
    args = [str(data / 'images'), '--out', str(data / 'pre'), '--model', 'm.onnx']
    result = CliRunner().invoke(prelabel_module.command, args, catch_exceptions=False)
    assert 'torn.png: left out' in result.output
    assert result.output.count('2 frames in') == 1
