"""A training run from its YAML file: it learns, it resumes, it leaves what is needed to repeat it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

torch = pytest.importorskip('torch', reason='training needs PyTorch')

from seg_perception.cli.train import command  # noqa: E402
from seg_perception.errors import ConfigError, ModelError  # noqa: E402
from seg_perception.labels import DEFAULT_LABELS  # noqa: E402
from seg_perception.training import loop  # noqa: E402
from seg_perception.training.checkpoint import load_checkpoint, load_weights, network_from  # noqa: E402
from seg_perception.training.networks import build_network  # noqa: E402
from seg_perception.training.run import train_from_file  # noqa: E402

NewRun = Callable[..., Path]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).network


def test_the_loss_falls(new_run: NewRun, tmp_path: Path) -> None:
    outcome = train_from_file(new_run(steps=18, epoch_steps=6), tmp_path, tmp_path / 'out')
    losses = [row['loss'] for row in outcome.history]
    assert len(losses) == 3
    assert losses[2] < 0.85 * losses[0]
    assert outcome.score == max(row['score'] for row in outcome.history)


def test_an_interrupted_run_ends_like_an_uninterrupted_one(new_run: NewRun, tmp_path: Path) -> None:
    path = new_run()
    whole = train_from_file(path, tmp_path, tmp_path / 'whole')

    advance = loop._Run.advance

    def interrupted(run: loop._Run, image: torch.Tensor, target: torch.Tensor) -> float:
        if run.step == 4:
            raise KeyboardInterrupt
        return advance(run, image, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Run, 'advance', interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_from_file(path, tmp_path, tmp_path / 'parts')
    assert load_checkpoint(tmp_path / 'parts' / 'last.pt').step == 3
    parts = train_from_file(path, tmp_path, tmp_path / 'parts')
    assert [r['loss'] for r in parts.history] == pytest.approx([r['loss'] for r in whole.history], rel=1e-3)
    ours, theirs = weights(tmp_path / 'parts' / 'last.pt'), weights(tmp_path / 'whole' / 'last.pt')
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=2e-2, atol=2e-3)


def test_the_folder_holds_what_repeats_the_run(new_run: NewRun, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    result = CliRunner().invoke(command, [str(new_run()), '--out', str(out)])
    assert result.exit_code == 0, result.output
    assert 'best score' in result.output
    for name in ('best.pt', 'last.pt', 'history.csv', 'curves.png', 'config.yaml', 'street.yaml', 'environment.json'):
        assert (out / name).is_file(), name
    repeated = train_from_file(out / 'config.yaml', tmp_path, tmp_path / 'again')
    assert repeated.history[-1]['step'] == 6


def test_two_mappings_of_one_name_are_refused(new_run: NewRun, tmp_path: Path) -> None:
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'street.yaml').write_text('layout: folder\n', encoding='utf-8')
    sets = [{'root': 'street', 'mapping': name, 'select': '^b_'} for name in ('street.yaml', 'other/street.yaml')]
    with pytest.raises(ConfigError, match=r'have one name; rename one'):
        train_from_file(new_run(datasets=sets), tmp_path, tmp_path / 'out')


def test_a_run_finds_its_own_copy_of_a_mapping(new_run: NewRun, tmp_path: Path) -> None:
    path = new_run(datasets=[{'root': 'street', 'mapping': 'maps/street.yaml', 'select': '^b_'}], steps=1)
    (tmp_path / 'maps').mkdir()
    (tmp_path / 'street.yaml').rename(tmp_path / 'maps' / 'street.yaml')
    train_from_file(path, tmp_path, tmp_path / 'out')
    again = train_from_file(tmp_path / 'out' / 'config.yaml', tmp_path, tmp_path / 'again')
    assert again.best.is_file()


def test_another_configuration_does_not_overwrite_a_run(new_run: NewRun, tmp_path: Path) -> None:
    train_from_file(new_run(), tmp_path, tmp_path / 'out')
    with pytest.raises(ConfigError, match=r'last.pt: of a run with another configuration; give another --out'):
        train_from_file(new_run(rate=0.1), tmp_path, tmp_path / 'out')


def test_fine_tuning_starts_from_a_checkpoint(new_run: NewRun, tmp_path: Path) -> None:
    train_from_file(new_run(), tmp_path, tmp_path / 'out')
    network = {'width': 0.25, 'start': 'out/best.pt'}
    tuned = train_from_file(new_run(network=network, steps=1, epoch_steps=1, rate=1e-9), tmp_path, tmp_path / 'tuned')
    first, second = weights(tmp_path / 'out' / 'best.pt'), weights(tuned.best)
    name = 'classifier.weight'
    torch.testing.assert_close(second[name], first[name])


def test_fine_tuning_with_other_classes_says_what_to_do(new_run: NewRun, tmp_path: Path) -> None:
    train_from_file(new_run(steps=1, epoch_steps=1), tmp_path, tmp_path / 'out')
    classes = DEFAULT_LABELS.to_dicts()
    classes[0]['name'], classes[1]['name'] = classes[1]['name'], classes[0]['name']
    path = new_run(network={'width': 0.25, 'start': 'out/best.pt'}, classes=classes)
    with pytest.raises(ConfigError, match=r"out/best.pt has the classes \['road', 'lane_marking', .*map your labels"):
        train_from_file(path, tmp_path, tmp_path / 'tuned')


def test_unusable_checkpoints_are_named(new_run: NewRun, tmp_path: Path) -> None:
    (tmp_path / 'junk.pt').write_bytes(b'junk')
    with pytest.raises(ModelError, match=r'junk.pt: .*give a .pt file of a training run'):
        load_checkpoint(tmp_path / 'junk.pt')
    with pytest.raises(ModelError, match=r'none.pt: cannot read the checkpoint'):
        load_checkpoint(tmp_path / 'none.pt')
    torch.save({'a': torch.zeros(2)}, tmp_path / 'other.pt')
    with pytest.raises(ModelError, match=r'other.pt: not a checkpoint of this program'):
        load_checkpoint(tmp_path / 'other.pt')
    outcome = train_from_file(new_run(steps=1, epoch_steps=1), tmp_path, tmp_path / 'out')
    checkpoint = load_checkpoint(outcome.best)
    unet = build_network('unet', 6, width=0.25)
    with pytest.raises(ModelError, match=r'best.pt: weights of another network'):
        load_weights(unet, checkpoint.network, outcome.best)
    load_weights(network_from(checkpoint.config), checkpoint.network, outcome.best)


def test_frozen_blocks_stay_as_they_are(new_run: NewRun, tmp_path: Path) -> None:
    train_from_file(new_run(), tmp_path, tmp_path / 'out')
    network = {'width': 0.25, 'start': 'out/best.pt', 'freeze': 2}
    tuned = train_from_file(new_run(network=network, steps=2, epoch_steps=2, seed=1), tmp_path, tmp_path / 'tuned')
    first, second = weights(tmp_path / 'out' / 'best.pt'), weights(tuned.best)
    changed = {name: bool((second[name] != first[name]).any()) for name in first if name.endswith('.weight')}
    assert not any(
        v for name, v in changed.items() if name.startswith(('backbone.features.0.', 'backbone.features.1.'))
    )
    assert changed['backbone.features.2.conv.0.0.weight']


@pytest.mark.parametrize(
    ('avx512', 'amx', 'dtype'),
    [(False, False, torch.float32), (True, False, torch.bfloat16), (False, True, torch.bfloat16)],
)
def test_bfloat16_only_where_the_cpu_has_it(
    monkeypatch: pytest.MonkeyPatch, avx512: bool, amx: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, '_is_avx512_bf16_supported', lambda: avx512)
    monkeypatch.setattr(torch.cpu, '_is_amx_tile_supported', lambda: amx)
    assert loop.compute_dtype(torch.device('cpu')) == dtype
