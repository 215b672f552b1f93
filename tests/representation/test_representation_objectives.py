"""What training needs of every objective: gradients, target, state, precision, groups, options."""

import io

import pytest
import torch
from objective_helpers import SMALL, TRAINED, apart, build, unlike

from relic_rl.losses import curl_loss, nt_xent_loss
from relic_rl.representation.objectives import build_objective

WITH_TARGET = ("relic", "infonce", "byol", "curl")


@pytest.mark.parametrize("name", TRAINED)
def test_gradient_reaches_online_and_never_the_target(small_encoder, small_views, name):
    encoder = small_encoder()
    objective = build(name, encoder)
    apart(objective, encoder)
    out = objective(encoder, small_views())
    out.loss.backward()
    trained = [(n, p) for n, p in objective.named_parameters() if p.requires_grad]
    for label, parameter in (*encoder.named_parameters(), *trained):
        assert parameter.grad is not None, label
        assert parameter.grad.abs().max() > 0, label
        assert not label.startswith("target."), label
    frozen = [p for p in objective.parameters() if not p.requires_grad]
    assert bool(frozen) == (name in WITH_TARGET)
    assert all(p.grad is None for p in frozen)
    assert all(not metric.requires_grad and metric.ndim == 0 for metric in out.metrics.values())


@pytest.mark.parametrize("name", TRAINED)
def test_the_encoder_is_never_a_part_of_the_objective(small_encoder, small_views, name):
    encoder = small_encoder()
    objective = build(name, encoder)
    objective(encoder, small_views())
    objective.update_target(encoder)
    own = {id(p) for p in objective.parameters()}
    assert not own & {id(p) for p in encoder.parameters()}
    assert not any(module is encoder for module in objective.modules())


def train(objective, encoder, views, steps, learning_rate=1e-3):
    trained = [*encoder.parameters(), *(p for p in objective.parameters() if p.requires_grad)]
    optimizer = torch.optim.Adam(trained, lr=learning_rate)
    losses = []
    for _ in range(steps):
        out = objective(encoder, views)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        objective.update_target(encoder)
        losses.append(out.loss.item())
    return losses


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in TRAINED),
        ("relic", {"target": "online"}),
        ("relic", {"learnable_temperature": True}),
        ("relic", {"divergence": "js", "block_size": 5}),
    ],
)
def test_loss_falls_in_twenty_steps(small_encoder, small_views, name, options):
    encoder = small_encoder()
    objective = build(name, encoder, **options)
    losses = train(objective, encoder, small_views(batch=16), 20)
    assert losses[-1] < 0.92 * losses[0], losses


def test_alpha_zero_is_infonce_bit_for_bit(small_encoder, small_views):
    trained = []
    for name, options in (("relic", {"alpha": 0.0}), ("infonce", {}), ("relic", {"alpha": 1.0})):
        encoder = small_encoder()
        objective = build(name, encoder, **options)
        train(objective, encoder, small_views(), 5)
        trained.append([*encoder.parameters(), *objective.parameters()])
    for a, b in zip(trained[0], trained[1], strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(trained[0][0], trained[2][0]), "the penalty makes a difference"


@pytest.mark.parametrize("name", WITH_TARGET)
def test_update_target_moves_encoder_and_critic(small_encoder, name):
    encoder = small_encoder()
    objective = build(name, encoder, target_decay=0.75)
    before = [p.clone() for p in objective.target.parameters()]
    apart(objective, encoder)
    objective.update_target(encoder)
    online = [*encoder.parameters(), *objective.critic.parameters()]
    for found, old, new in zip(objective.target.parameters(), before, online, strict=True):
        torch.testing.assert_close(found, 0.75 * old + 0.25 * new, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", TRAINED)
def test_state_dict_round_trip_continues_exactly(small_encoder, small_views, name):
    encoder = small_encoder()
    objective = build(name, encoder)
    train(objective, encoder, small_views(), 3)
    file = io.BytesIO()
    torch.save({"encoder": encoder.state_dict(), "objective": objective.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    other_encoder = small_encoder(7)
    torch.manual_seed(8)
    other = build_objective(name, other_encoder, **SMALL)
    other_encoder.load_state_dict(state["encoder"])
    other.load_state_dict(state["objective"])
    views = small_views(seed=4)
    for _ in range(2):
        assert torch.equal(other(other_encoder, views).loss, objective(encoder, views).loss)


@pytest.mark.parametrize(
    ("name", "target", "passes"),
    [("relic", "ema", 1), ("relic", "online", 1), ("simclr", None, 1), ("byol", None, 1), ("amdim", None, 1)],
)
def test_all_views_go_through_a_network_in_one_pass(small_encoder, small_views, name, target, passes):
    encoder = small_encoder()
    objective = build(name, encoder, **({} if target is None else {"target": target}))
    batches = {"online": [], "target": []}
    encoder.conv1.register_forward_hook(lambda _, inputs, __: batches["online"].append(len(inputs[0])))
    average = getattr(objective, "target", None)
    if average is not None:
        average.encoder.conv1.register_forward_hook(lambda _, inputs, __: batches["target"].append(len(inputs[0])))
    objective(encoder, small_views())
    assert batches["online"] == [12] * passes
    assert batches["target"] == ([12] if average is not None else [])


@pytest.mark.parametrize("name", TRAINED)
def test_losses_are_float32_under_autocast(small_encoder, small_views, name):
    encoder = small_encoder()
    objective = build(name, encoder)
    expected = objective(encoder, small_views()).loss
    if name == "amdim":
        objective.generator.manual_seed(0)
        expected = objective(encoder, small_views()).loss
        objective.generator.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        out = objective(encoder, small_views())
    assert out.loss.dtype == torch.float32
    torch.testing.assert_close(out.loss, expected, rtol=0.02, atol=0.0)
    out.loss.backward()
    assert all(p.grad.dtype == torch.float32 for p in encoder.parameters())


def test_products_of_the_losses_are_float32_under_autocast(small_encoder, small_views):
    encoder = small_encoder()
    simclr, curl = build("simclr", encoder), build("curl", encoder)
    views = unlike(small_views)
    with torch.autocast("cpu", torch.bfloat16):
        found = simclr(encoder, views).loss, curl(encoder, views).loss
        z = simclr.critic(encoder(torch.cat(views)))
        query, key = curl.critic(encoder(views[0])), curl.target(views[1])
    expected = nt_xent_loss(*z.chunk(2), temperature=0.1), curl_loss(query, key, curl.bilinear)
    for loss, value in zip(found, expected, strict=True):
        torch.testing.assert_close(loss, value, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["relic", "infonce", "simclr"])
def test_learned_temperature(small_encoder, small_views, name):
    encoder = small_encoder()
    fixed = build(name, encoder, temperature=0.2)
    learned = build(name, encoder, temperature=0.2, learnable_temperature=True)
    views = small_views()
    out = learned(encoder, views)
    torch.testing.assert_close(out.loss, fixed(encoder, views).loss)
    assert "temperature" not in fixed(encoder, views).metrics
    assert out.metrics["temperature"] == pytest.approx(0.2)
    out.loss.backward()
    gradient = learned.temperature.log_tau.grad
    assert gradient is not None
    assert gradient.abs() > 0
    views = unlike(small_views)
    small, expected = (
        build(name, encoder, temperature=1e-3, learnable_temperature=learnable)(encoder, views)
        for learnable in (True, False)
    )
    torch.testing.assert_close(small.loss, expected.loss, rtol=1e-4, atol=0, msg="a small temperature is clamped")


def test_groups_are_for_relic_and_infonce(small_encoder, small_views):
    groups = torch.tensor([0, 0, 1, 1, 2, 2])
    for name in TRAINED:
        encoder = small_encoder()
        objective = build(name, encoder)
        assert objective.takes_groups == (name in ("relic", "infonce"))
        if objective.takes_groups:
            plain, grouped = objective(encoder, small_views()), objective(encoder, small_views(), groups)
            assert grouped.metrics["contrastive"] < plain.metrics["contrastive"]
            with pytest.raises(ValueError, match=r"groups must be \[B\]"):
                objective(encoder, small_views(), groups[:5])
        else:
            with pytest.raises(ValueError, match="takes no groups"):
                objective(encoder, small_views(), groups)


@pytest.mark.parametrize("name", TRAINED)
def test_bad_views_are_refused(small_encoder, small_views, name):
    encoder = small_encoder()
    objective = build(name, encoder)
    with pytest.raises(ValueError, match="two views, got 1"):
        objective(encoder, small_views(1))
    if name not in ("relic", "infonce"):
        with pytest.raises(ValueError, match="two views, got 3"):
            objective(encoder, small_views(3))
    first, second = small_views()
    with pytest.raises(ValueError, match="one shape and type"):
        objective(encoder, [first, second[:4]])


def test_batch_norm_is_in_every_two_layer_head(small_encoder, small_views):
    for name in TRAINED:
        encoder = small_encoder()
        objective = build(name, encoder, batch_norm=True)
        trained = {m for n, m in objective.named_modules() if not n.startswith("target")}
        heads = sum(isinstance(m, torch.nn.BatchNorm1d) for m in trained)
        assert heads == {"byol": 2, "amdim": 3}.get(name, 1)
        assert objective(encoder, small_views()).loss.isfinite()


def test_amdim_projects_locations_with_as_many_hidden_units_as_outputs(small_encoder):
    objective = build("amdim", small_encoder())
    assert objective.critic.layers[0].out_features == SMALL["hidden_dim"]
    for critic in (objective.fine_critic, objective.coarse_critic):
        assert critic.layers[0].out_features == SMALL["projection_dim"]


def test_none_and_augment_have_no_objective(small_encoder):
    assert build_objective("none", small_encoder()) is None
    assert build_objective("augment", small_encoder()) is None


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("relik", {}, "did you mean relic"),
        ("zzz", {}, "choose one of none, augment, relic"),
        ("none", {"temperature": 0.1}, "none does not use temperature"),
        ("simclr", {"alpha": 1.0}, "simclr does not use alpha"),
        ("infonce", {"alpha": 0.0, "divergence": "kl"}, "infonce does not use alpha, divergence"),
        ("byol", {"temperature": 0.1, "target": "ema"}, "byol does not use temperature, target"),
        ("curl", {"normalize": True}, "curl does not use normalize"),
        ("amdim", {"target_decay": 0.9}, "amdim does not use target_decay"),
        ("relic", {"target": "online", "target_decay": 0.9}, "leave target_decay out"),
        ("relic", {"target": "both"}, "target must be ema or online"),
        ("relic", {"alpha": -1.0}, "alpha must be finite"),
        ("relic", {"alpha": float("nan")}, "alpha must be finite"),
        ("relic", {"temperature": 0.0}, "temperature must be positive"),
        ("simclr", {"temperature": float("inf")}, "temperature must be positive"),
        ("relic", {"divergence": "kk"}, "unknown divergence"),
        ("relic", {"divergence": "sinkhorn", "block_size": 4}, "sinkhorn has no blockwise form"),
        ("relic", {"critic_layers": 3}, "1 or 2 layers"),
        ("byol", {"target_decay": 1.5}, "fraction of the old target"),
    ],
)
def test_bad_options_are_one_clear_line(small_encoder, name, options, message):
    with pytest.raises(ValueError, match=message) as error:
        build(name, small_encoder(), **options)
    assert "\n" not in str(error.value)
