# SPDX-License-Identifier: Apache-2.0
"""The Lightning module: effect of a step on losses, weights and uncertainties."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from torch.utils.data import default_collate

from mtl_perception.data.augmentation import Augmentation
from mtl_perception.data.cityscapes import find_frames
from mtl_perception.network.checkpoint import CheckpointError
from mtl_perception.network.multitask import NetworkConfig
from mtl_perception.training.data import StreetData
from mtl_perception.training.module import MultiTaskModule, TrainingError
from mtl_perception.training.samples import to_sample

SMALL = NetworkConfig(stride=16, head_width=16)


def small_module(**options) -> MultiTaskModule:
    torch.manual_seed(0)
    return MultiTaskModule(SMALL, optimizer='adamw', learning_rate=2e-3, **options)


def small_data(root, **options) -> StreetData:
    settings = {'input_height': 64, 'crop': (64, 128), 'batch_size': 4, 'workers': 0, **options}
    return StreetData(root, augmentation=Augmentation(scale=(1.0, 1.0)), **settings)


def fit(module: MultiTaskModule, data: StreetData, steps: int) -> L.Trainer:
    trainer = L.Trainer(
        max_steps=steps,
        accelerator='cpu',
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(module, data)
    return trainer


def optimizer_after_steps(module: MultiTaskModule, root) -> torch.optim.Optimizer:
    """Return an optimizer with momentum; afterwards the module works without a trainer."""
    fit(module, small_data(root), 2)
    module.log_dict = lambda *_, **__: None
    for group in module.optimizers().param_groups:
        group['lr'] = 1e-2
    return module.optimizers().optimizer


def batch_of(root, **without) -> dict:
    frames = [replace(paths.read(), **without) for paths in find_frames(root, 'train')[:4]]
    return default_collate([to_sample(frame) for frame in frames])


@pytest.mark.slow
def test_thirty_steps_lower_all_three_losses(streets):
    module, batch = small_module(), batch_of(streets)
    before = {
        task: float(loss.detach())
        for task, loss in module.losses(module(batch['image']), batch).items()
    }
    fit(module, small_data(streets), 30)
    module.train()
    after = {
        task: float(loss.detach())
        for task, loss in module.losses(module(batch['image']), batch).items()
    }
    assert set(after) == {'semantic', 'instance', 'depth'}
    for task, loss in after.items():
        assert loss < 0.9 * before[task], f'{task}: {before[task]:.3f} to {loss:.3f}'


def test_training_moves_the_uncertainties(streets):
    module = small_module()
    fit(module, small_data(streets), 5)
    assert all(float(s.detach()) != 0 for s in module.weighting.log_variance.values())


def test_a_batch_without_depth_leaves_its_uncertainty_alone(streets):
    module = small_module()
    batch = batch_of(streets, depth=None, labels=None)
    assert set(module.losses(module(batch['image']), batch)) == {'instance'}
    module.weighting(module.losses(module(batch['image']), batch)).backward()
    assert module.weighting.log_variance['depth'].grad is None
    assert module.weighting.log_variance['instance'].grad is not None


def test_frames_without_a_task_do_not_dilute_its_loss(streets):
    module = small_module().eval()
    with torch.no_grad():
        whole = batch_of(streets)
        alone = {key: value[:1] for key, value in whole.items()}
        bare = {**whole, 'depth': whole['depth'].clone()}
        bare['depth'][1:] = torch.nan
        expected = module.losses(module(alone['image']), alone)['depth']
        torch.testing.assert_close(module.losses(module(bare['image']), bare)['depth'], expected)


def test_uncertainties_have_a_group_without_weight_decay(streets):
    module = small_module(weight_decay=0.5)
    fit(module, small_data(streets), 1)
    network, uncertainties = module.optimizers().param_groups
    assert network['weight_decay'] == 0.5
    assert uncertainties['weight_decay'] == 0
    assert len(uncertainties['params']) == 3


def test_the_learning_rate_falls_as_the_papers(streets):
    torch.manual_seed(0)
    module = MultiTaskModule(SMALL, learning_rate=0.1)
    trainer = fit(module, small_data(streets), 4)
    (schedule,) = [config.scheduler for config in trainer.lr_scheduler_configs]
    assert [schedule.lr_lambdas[0](i) for i in range(5)] == pytest.approx(
        [(1 - i / 4) ** 0.9 for i in range(5)]
    )
    assert module.optimizers().param_groups[0]['nesterov']


def test_fixed_weighting_needs_a_weight_for_every_task():
    with pytest.raises(ValueError, match='fixed_weights'):
        MultiTaskModule(SMALL, weighting='fixed', fixed_weights={'depth': 1.0})
    module = MultiTaskModule(
        NetworkConfig(stride=16, head_width=16, tasks=('depth',)),
        weighting='fixed',
        fixed_weights={'depth': 1.0},
    )
    assert module.weighting.weights() == {'depth': 1.0}


@pytest.mark.parametrize(
    ('options', 'reason'),
    [
        ({'fixed_weights': {'depth': 1.0}}, 'requires model.weighting fixed'),
        ({'pretrained': 'a.pth', 'initial': 'b.safetensors'}, 'exclude each other'),
        (
            {'label_weights': {'dragon': 2.0}},
            "unknown label 'dragon'; the evaluated labels are road",
        ),
        ({'label_weights': {'pole': 0.0}}, 'weight of pole must be positive'),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, reason):
    with pytest.raises(ValueError, match=reason):
        MultiTaskModule(SMALL, **options)


def test_training_goes_on_from_a_checkpoint_of_the_same_network(tiny_checkpoint):
    module = MultiTaskModule(SMALL, initial=tiny_checkpoint)
    fresh = MultiTaskModule(SMALL)
    name = 'heads.depth.4.weight'
    assert not torch.equal(module.network.state_dict()[name], fresh.network.state_dict()[name])
    with pytest.raises(CheckpointError, match='is to be trained'):
        MultiTaskModule(replace(SMALL, head_width=32), initial=tiny_checkpoint)


def test_crops_must_fit_the_network(streets):
    with pytest.raises(ValueError, match='multiple of 32'):
        small_data(streets, crop=(60, 128))


def test_a_step_without_a_task_moves_neither_its_head_nor_its_uncertainty(streets):
    """Momentum of earlier steps must not move them."""
    module = small_module(weight_decay=0.1)
    optimizer = optimizer_after_steps(module, streets)
    module.train()
    without = batch_of(streets, depth=None)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    optimizer.zero_grad()
    module.training_step(without, 0).backward()
    assert module.network.heads['depth'][4].weight.grad is not None  # DDP waits for it
    module.on_before_optimizer_step(optimizer)
    optimizer.step()
    after = module.state_dict()
    for name in ('network.heads.depth.4.weight', 'weighting.log_variance.depth'):
        assert torch.equal(after[name], before[name]), name
    for name in ('network.heads.semantic.4.weight', 'network.encoder.conv1.weight'):
        assert not torch.equal(after[name], before[name]), name


def test_a_step_without_any_ground_truth_changes_no_weight(streets):
    module = small_module(weight_decay=0.1)
    optimizer = optimizer_after_steps(module, streets)
    before = {name: value.clone() for name, value in module.named_parameters()}
    optimizer.zero_grad()
    module.training_step(batch_of(streets, depth=None, labels=None, instances=None), 0).backward()
    module.on_before_optimizer_step(optimizer)
    optimizer.step()
    for name, value in module.named_parameters():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize('optimizer', ['adamw', 'sgd'])
def test_a_task_may_come_after_the_first_step(streets, optimizer):
    module = MultiTaskModule(SMALL, optimizer=optimizer)
    without, whole = batch_of(streets, depth=None), batch_of(streets)
    optimizer = optimizer_after_steps(module, streets)
    optimizer.state.clear()
    for batch in (without, whole):
        before = module.network.heads['depth'][4].weight.clone()
        optimizer.zero_grad()
        module.training_step(batch, 0).backward()
        module.on_before_optimizer_step(optimizer)
        optimizer.step()
    assert not torch.equal(module.network.heads['depth'][4].weight, before)


def test_a_loss_that_is_not_finite_names_step_task_and_frame(streets):
    module = small_module()
    batch = batch_of(streets)
    batch['depth'][2] = torch.inf
    module.log_dict = lambda *_, **__: None
    with pytest.raises(TrainingError, match=r'step 0: the depth loss') as raised:
        module.training_step(batch, 0)
    assert batch['name'][2] in str(raised.value)
    assert batch['name'][0] not in str(raised.value)


def test_weights_that_are_not_finite_are_not_saved():
    module = small_module()
    module.on_save_checkpoint({})
    module.network.heads['depth'][0].weight.data[0] = torch.nan
    with pytest.raises(TrainingError, match=r'heads\.depth\.0\.weight is not finite'):
        module.on_save_checkpoint({})


def test_frozen_batch_norm_keeps_its_statistics_but_learns_its_weights(streets):
    module = small_module(freeze_batch_norm=True)
    before = {
        name: value.clone() for name, value in module.network.encoder.bn1.state_dict().items()
    }
    fit(module, small_data(streets), 2)
    module.eval()
    assert not module.train().network.encoder.bn1.training
    after = module.network.encoder.bn1.state_dict()
    assert torch.equal(after['running_mean'], before['running_mean'])
    assert not torch.equal(after['weight'], before['weight'])


def test_a_compiled_network_says_what_it_said_before(monkeypatch, streets):
    # Only whether the graph can be captured: a compiler may not be installed.
    monkeypatch.setattr(torch, 'compile', partial(torch.compile, backend='eager', fullgraph=True))
    plain, compiled = small_module(), small_module(compiled=True)
    assert compiled.network._compiled_call_impl is not None
    compiled.load_state_dict(plain.state_dict())
    batch = batch_of(streets)
    totals = [sum(m.losses(m(batch['image']), batch).values()) for m in (plain, compiled)]
    torch.testing.assert_close(totals[1], totals[0])
    totals[1].backward()
    assert compiled.network.encoder.conv1.weight.grad.any()


@pytest.mark.parametrize('optimizer', ['adamw', 'sgd'])
def test_only_the_same_kind_of_training_is_resumed(optimizer):
    checkpoint: dict = {}
    small_module().on_save_checkpoint(checkpoint)
    other = MultiTaskModule(SMALL, optimizer=optimizer)
    other.trainer = SimpleNamespace(ckpt_path='last.ckpt')
    if optimizer == 'adamw':
        other.on_load_checkpoint(checkpoint)
    else:
        with pytest.raises(CheckpointError, match=r'last\.ckpt: .* optimizer adamw instead of sgd'):
            other.on_load_checkpoint(checkpoint)
