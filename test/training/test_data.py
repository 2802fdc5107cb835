# SPDX-License-Identifier: Apache-2.0
"""The data module: batches from one or more datasets, whole or damaged."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mtl_perception.data.augmentation import Augmentation
from mtl_perception.data.cityscapes import DatasetError, find_frames
from mtl_perception.network.multitask import NetworkConfig
from mtl_perception.tasks import semantic
from mtl_perception.training.data import StreetData

STILL = Augmentation(scale=(1.0, 1.0))


@pytest.fixture
def root(streets, tmp_path) -> Path:
    """Return a copy of the streets that a test may damage."""
    shutil.copytree(streets, tmp_path / 'streets')
    return tmp_path / 'streets'


def data_of(root, *, trainer=None, augmentation=STILL, **options) -> StreetData:
    settings = {'input_height': 32, 'crop': (32, 64), 'batch_size': 4, 'workers': 0, **options}
    data = StreetData(root, augmentation=augmentation, **settings)
    data.trainer = trainer or trainer_of()
    data.setup('fit')
    return data


def trainer_of(*, step=0, accumulated=1, tasks=('semantic', 'instance', 'depth')):
    return SimpleNamespace(
        global_step=step,
        accumulate_grad_batches=accumulated,
        world_size=1,
        global_rank=0,
        strategy=SimpleNamespace(root_device=torch.device('cpu')),
        lightning_module=SimpleNamespace(
            network=SimpleNamespace(config=NetworkConfig(tasks=tasks))
        ),
    )


def batches_of(data: StreetData, loader=None) -> list[dict]:
    loader = loader or data.train_dataloader()
    return [data.on_before_batch_transfer(batch, 0) for batch in loader]


def assert_equal(found: list[dict], expected: list[dict]) -> None:
    assert len(found) == len(expected) > 0
    for a, b in zip(found, expected, strict=True):
        assert a['name'] == b['name']
        for key in ('image', 'semantic', 'instance', 'depth'):
            torch.testing.assert_close(a[key], b[key], rtol=0, atol=0, equal_nan=True)


def test_a_resumed_run_gets_the_batches_that_it_missed(streets):
    free = Augmentation(photometric=1.0, balanced=0.5)
    settings = {'batch_size': 2, 'augmentation': free}
    whole = batches_of(data_of(streets, trainer=trainer_of(), **settings))
    stopped = data_of(streets, trainer=trainer_of(step=3), **settings)
    resumed = data_of(streets, trainer=trainer_of(), workers=2, **settings)
    resumed.load_state_dict(stopped.state_dict())
    assert_equal(batches_of(resumed), whole[3:])


def test_a_run_resumed_with_other_batches_goes_on_after_what_it_saw(streets):
    stopped = data_of(streets, trainer=trainer_of(step=2), batch_size=2)
    resumed = data_of(streets, trainer=trainer_of(step=2), batch_size=1)
    resumed.load_state_dict(stopped.state_dict())
    assert_equal(batches_of(resumed), batches_of(data_of(streets, batch_size=1))[4:])


def test_epochs_are_whole_optimizer_steps(streets):
    data = data_of(streets, trainer=trainer_of(accumulated=3), batch_size=2)
    assert len(batches_of(data)) == 3  # of the four that eight frames make


def test_the_cache_does_not_change_the_batches(streets, tmp_path):
    cached = data_of(streets, cache=tmp_path / 'cache')
    expected = batches_of(data_of(streets))
    for _ in range(2):
        assert_equal(batches_of(cached), expected)
    assert len(list((tmp_path / 'cache').glob('*.npz'))) == 8
    plain = data_of(streets)
    assert_equal(
        batches_of(cached, cached.val_dataloader()), batches_of(plain, plain.val_dataloader())
    )


def test_datasets_share_the_samples_by_their_weights(streets, root):
    data = data_of({str(streets): 1, str(root): 3}, batch_size=8)
    data.train_dataloader()
    order = data.train_dataloader().sampler.order(0).reshape(-1, 8)
    assert ((order < 8).sum(1) == 2).all()
    assert data.description == 'streets0 + streets'


def test_cities_share_the_samples_of_their_dataset_by_their_weights(streets, root):
    for kind in root.glob('*/train'):
        shutil.copytree(next(kind.iterdir()), kind / 'elsewhere')
    city = find_frames(streets, 'train')[0].city
    data = data_of({str(root): {city: 3, 'elsewhere': 1}})
    order = data.train_dataloader().sampler.order(0)
    assert (order < 8).sum() == 3 * (order >= 8).sum() == 12


def test_a_city_that_is_not_there_is_named_beside_those_that_are(root):
    with pytest.raises(ValueError, match=r"no city 'nowhere'; the cities are \w+"):
        data_of({str(root): {'nowhere': 1}})


def test_labels_of_a_city_can_be_trusted_up_to_groups_alone(streets, root):
    for kind in root.glob('*/train'):
        shutil.copytree(next(kind.iterdir()), kind / 'elsewhere')
    city = find_frames(streets, 'train')[0].city
    share = {str(root): {city: 1, 'elsewhere': 1}}
    data = data_of(share, batch_size=1, groups={'elsewhere': 'idd'})
    plain = batches_of(data_of(share, batch_size=1))
    order = data.train_dataloader().sampler.order(0)
    changed = 0
    for frame, batch, before in zip(order, batches_of(data), plain, strict=True):
        groups = None if frame < 8 else 'idd'
        expected = torch.from_numpy(semantic.target(before['semantic'].numpy(), groups))
        torch.testing.assert_close(batch['semantic'], expected)
        changed += bool((batch['semantic'] != before['semantic']).any())
    assert changed


@pytest.mark.parametrize(
    ('groups', 'message'),
    [
        ({'zurich': 'kitti'}, "unknown groups 'kitti'; choose one of camvid, idd"),
        ({'nowhere': 'idd'}, "has no training frames of 'nowhere'; the cities are"),
    ],
)
def test_groups_are_of_a_known_kind_and_of_cities_that_are_trained_on(streets, groups, message):
    with pytest.raises(ValueError, match=message):
        data_of(streets, groups=groups)


def test_validation_frames_are_spread_evenly_over_a_dataset(root):
    for kind in root.iterdir():
        shutil.copytree(kind / 'train', kind / 'val', dirs_exist_ok=True)
    frames = find_frames(root, 'val')
    assert len(frames) == 10
    found = batches_of(data := data_of(root, val_frames=5), data.val_dataloader())
    assert [name for batch in found for name in batch['name']] == [f.name for f in frames[::2]]


@pytest.mark.parametrize(
    'settings', [{'input_height': 80}, {'crop': (32, 33)}, {'batch_size': 0}, {'val_frames': -1}]
)
def test_settings_that_make_no_batch_are_refused_before_anything_is_read(settings):
    with pytest.raises(ValueError, match=f'data.{next(iter(settings))} must be'):
        StreetData('nowhere', **settings)


def test_every_batch_has_frames_with_the_rare_ground_truth(root):
    for frame in find_frames(root, 'train')[2:]:
        frame.disparity.unlink()
    batches = batches_of(data_of(root))
    assert len(batches) == 2
    assert not any(batch['depth'].isnan().all() for batch in batches)


def test_frames_of_any_shape_and_lens_make_a_batch(root):
    from mtl_perception.data.cityscapes import write_frame
    from mtl_perception.synthetic import synthetic_frame

    write_frame(root, 'train', synthetic_frame(0, 99, height=96, width=96))
    data = data_of(root, augmentation=Augmentation(), batch_size=9)
    (batch,) = batches_of(data)
    assert batch['image'].shape == (9, 32, 64, 3)
    assert len(set(batch['focal_length'].tolist())) > 1


@pytest.mark.parametrize('workers', [0, 1])
def test_a_damaged_frame_ends_the_training_with_its_name(root, workers):
    path = find_frames(root, 'train')[3].labels
    path.write_bytes(path.read_bytes()[:100])
    data = data_of(root, workers=workers)
    with pytest.raises(DatasetError) as raised:
        batches_of(data)
    assert str(raised.value).startswith(f'{path}: cannot be decoded')
    assert '\n' not in str(raised.value)


def test_damaged_frames_are_skipped_and_counted(root, capsys):
    frames = find_frames(root, 'train')
    damaged = [frames[3].image, frames[4].camera, find_frames(root, 'val')[0].instances]
    for path in damaged:
        path.write_bytes(b'')
    data = data_of(root, on_error='skip')
    first, again = batches_of(data), batches_of(data)
    assert_equal(first, again)
    names = [name for batch in first for name in batch['name']]
    assert not {frames[3].name, frames[4].name} & set(names)
    assert names.count(frames[5].name) == 3  # the next one stands in for both

    bare, whole = batches_of(data, data.val_dataloader())
    assert bare['depth'].isnan().all()
    assert not whole['depth'].isnan().all()
    assert sorted(data.skipped.values()) == [1, 2, 4]  # once for itself, once before the next
    printed = capsys.readouterr().out
    assert all(printed.count(f'skipped: {path}') == 1 for path in damaged)


def test_a_dataset_of_damaged_frames_is_not_searched_for_ever(root):
    for frame in find_frames(root, 'train'):
        frame.image.write_bytes(b'')
    with pytest.raises(DatasetError, match='all 8 training frames are damaged'):
        batches_of(data_of(root, on_error='skip'))


def test_a_task_without_any_ground_truth_is_refused(root):
    shutil.rmtree(root / 'disparity')
    with pytest.raises(ValueError, match='no training frame has ground truth for depth'):
        data_of(root, trainer=trainer_of())
    data_of(root, trainer=trainer_of(tasks=('semantic',)))


def test_a_task_that_will_not_be_measured_is_warned_of(root):
    shutil.rmtree(root / 'disparity' / 'val')
    with pytest.warns(UserWarning, match='no validation frame has ground truth for depth'):
        data_of(root, trainer=trainer_of())


def test_too_few_frames_for_a_batch_are_refused(streets):
    with pytest.raises(ValueError, match='8 training frames are too few for a batch of 16'):
        data_of(streets, trainer=trainer_of(accumulated=2), batch_size=8)


def test_fewer_validation_frames_than_processes_are_refused(streets):
    trainer = trainer_of()
    trainer.world_size = 3
    with pytest.raises(ValueError, match='2 validation frames are too few for 3 processes'):
        data_of(streets, trainer=trainer, batch_size=2)


def test_a_cache_that_cannot_be_written_is_refused(streets, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match='cannot be created'):
        data_of(streets, cache=tmp_path / 'file' / 'cache')


@pytest.mark.parametrize(
    'weights', [{}, {'a': 0.0}, {'a': 1.0, 'b': -1.0}, {'a': {'b': 0}}, {'a': {}, 'b': 1}]
)
def test_weights_of_datasets_must_be_positive(weights):
    with pytest.raises(ValueError, match='positive weights'):
        StreetData(weights)


def test_a_dataset_cannot_have_two_shares():
    with pytest.raises(ValueError, match='names a folder twice'):
        StreetData({'a': {'b': 1}, 'a/': {'c': 1}})
