"""Break the source on purpose, one line at a time; the comparison with the slow loops must notice each time.

A mutant is a copy of the package with one line changed, imported under a name of its own.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from losses_slow_reference import slow_divergence, slow_relic, views

SOURCE = Path(importlib.util.find_spec("relic_rl.losses").origin).parent

MUTATIONS = {
    "sign of the contrastive term, dense": (
        "terms.py",
        "Terms(-at_positive.mean(",
        "Terms(at_positive.mean(",
    ),
    "sign of the contrastive term, blocks": ("tiles.py", "= -log_p.gather", "= log_p.gather"),
    "normaliser, blocks": ("tiles.py", "p.div_(normalizer)", "p.div_(2 * normalizer)"),
    "sign of its gradient, blocks": ("tiles.py", "full_like(at_positive, -of", "full_like(at_positive, of"),
    "sign of the penalty, dense": (
        "relic.py",
        "terms.contrastive + plan.alpha",
        "terms.contrastive - plan.alpha",
    ),
    "sign of the penalty, blocks": ("blockwise.py", "terms.contrastive + alpha", "terms.contrastive - alpha"),
    "transpose, dense": ("relic.py", "return u @ v.T", "return v @ u.T"),
    "transpose, blocks": (
        "blockwise.py",
        "multiply(online[left][block], target[right].T,",
        "multiply(target[right][block], online[left].T,",
    ),
    "rows and columns of one matrix": (
        "relic.py",
        "_product(online[left], target[right],",
        "_product(online[min(left, right)], target[max(left, right)],",
    ),
    "temperature multiplies": ("relic.py", "normalize) / temperature for", "normalize) * temperature for"),
    "temperature on both sides": (
        "relic.py",
        "v = [_rows(view, dtype, normalize) for",
        "v = [_rows(view, dtype, normalize) / temperature for",
    ),
    "temperature clamped": ("relic.py", "/ temperature for view", "/ max(temperature, 0.5) for view"),
    "direction of KL": (
        "divergences.py",
        "(log_p.exp() * (log_p - log_q))",
        "(log_q.exp() * (log_q - log_p))",
    ),
    "direction of KL under the penalty": (
        "invariance.py",
        "(divergence is kl)",
        "(divergence is reverse_kl)",
    ),
    "side that is stopped": (
        "invariance.py",
        'log_p[a].detach() if stop_gradient == "first"',
        'log_p[a].detach() if stop_gradient == "second"',
    ),
    "gradient of KL's first argument, blocks": (
        "tiles.py",
        ".add_(p_w, alpha=through_first)",
        ".sub_(p_w, alpha=through_first)",
    ),
    "gradient of KL's second argument, blocks": (
        "tiles.py",
        "torch.sub(p, summed, alpha=through_second",
        "torch.sub(p, summed, alpha=through_first",
    ),
    "others in KL over pairs, dense": ("invariance.py", "own - others.sum(0)", "own - others[0]"),
    "views against themselves": ("relic.py", "if left != right]", "if left == right]"),
    "unordered pairs counted once": ("invariance.py", "total * (2.0 if twice else 1.0)", "total"),
    "mean over pairs": ("invariance.py", "/ (num * (num - 1))\n    twice", "/ num\n    twice"),
    "diagonal is the positive": (
        "terms.py",
        "index = positive.expand",
        "index = positive.flip(0).expand",
    ),
    "diagonal only in the penalty": (
        "invariance.py",
        "return (weights * (log_p.shape[0] * own - others.sum(0))).sum(-1)",
        "return (weights * (log_p.shape[0] * own - others.sum(0))).diagonal(0, -2, -1)",
    ),
    "offset forgotten": ("candidates.py", "device=device) + self.positive_offset", "device=device)"),
    "offset off by one": (
        "candidates.py",
        "+ self.positive_offset\n",
        "+ max(0, self.positive_offset - 1)\n",
    ),
    "block's first row forgotten": (
        "candidates.py",
        "torch.arange(first, last,",
        "torch.arange(0, last - first,",
    ),
    "group mask inverted": (
        "candidates.py",
        "[rows, None] == self.target_group",
        "[rows, None] != self.target_group",
    ),
    "group mask dropped, dense": ("relic.py", "logits.masked_fill(excluded, EXCLUDED_LOGIT)", "logits"),
    "group mask dropped, blocks": (
        "blockwise.py",
        "tile_logits.masked_fill_(excluded, EXCLUDED_LOGIT)",
        "pass",
    ),
    "group mask hides the positive": ("candidates.py", "scatter_(1, positive[:, None], False)", "clone()"),
    "negatives are what is left out": (
        "candidates.py",
        "scatter_(1, kept, False)",
        "scatter_(1, kept, False).logical_not_()",
    ),
    "target's gradient, blocks": (
        "blockwise.py",
        "multiply(slope.T, online[left][block]",
        "multiply(slope.T, online[right][block]",
    ),
    "gradient not scaled": ("blockwise.py", "else gradient * of_total for", "else gradient for"),
    "mean over anchors, blocks": ("blockwise.py", "weight / num_rows for", "weight for"),
    "js": ("divergences.py", "functional.logsigmoid(-difference)", "functional.logsigmoid(difference)"),
    "total variation": (
        "divergences.py",
        "return 0.5 * (log_p.exp() - log_q.exp()).abs()",
        "return (log_p.exp() - log_q.exp()).abs()",
    ),
    "hellinger": ("divergences.py", "- (0.5 * log_q).exp()).square()", "- (0.5 * log_q).exp()).abs()"),
    "chi2": ("divergences.py", "order=2.0", "order=3.0"),
    "renyi": ("divergences.py", "log_p + (order - 1.0)", "log_p + (1.0 - order)"),
}

CASES = [
    dict(num_candidates=5),
    dict(penalty_stop_gradient="first", num_candidates=5),
    dict(num_views=3, divergence="kl", penalty_stop_gradient="second", num_candidates=5),
    dict(num_views=3, divergence="js", penalty_stop_gradient="second", num_candidates=5),
    dict(divergence="total_variation", num_candidates=5),
    dict(
        num_candidates=7,
        positive_offset=2,
        anchor_group=torch.tensor([0, 0, 1, 2, 2]),
        target_group=torch.tensor([1, 2, 0, 0, 1, 2, 2]),
    ),
    dict(num_candidates=5, negatives=torch.tensor([[1, 2], [3, 4], [0, 1], [0, 4], [2, 3]])),
]


def expectation(case):
    """Inputs, options, and what the loops say: values, gradients of 3 * total."""
    options = {"alpha": 0.7, "divergence": "kl", "temperature": 0.3, **case}
    num_views = options.pop("num_views", 2)
    online, target = (
        views(num_views, 5, 3, seed=0),
        views(num_views, options.pop("num_candidates"), 3, seed=1),
    )
    values = slow_relic(online, target, **options)
    gradients = torch.autograd.grad(3 * values[0], online + target, materialize_grads=True)
    return online, target, options, values, gradients


@pytest.fixture(scope="module")
def expectations():
    return [expectation(case) for case in CASES]


def load(folder, name, mutation=None):
    """Import a copy of the losses, with one change, as package `name`."""
    package = folder / name
    package.mkdir()
    for path in SOURCE.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if mutation is not None and path.name == mutation[0]:
            assert text.count(mutation[1]) >= 1, f"{mutation[1]!r} is not in {path.name}: the mutation is out of date"
            text = text.replace(mutation[1], mutation[2])
        (package / path.name).write_text(text.replace("relic_rl.losses", name), encoding="utf-8")
    sys.path.insert(0, str(folder))
    try:
        importlib.invalidate_caches()
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))


def disagreements(losses, expectations):
    """How often `losses` differs from the loops."""
    count = 0
    for online, target, options, values, gradients in expectations:
        for block_size in (None, 2):
            try:
                out = losses.relic_loss(online, target, block_size=block_size, **options)
                ours = torch.autograd.grad(3 * out.total, online + target, materialize_grads=True)
                torch.testing.assert_close(tuple(out[:3]), tuple(values), rtol=1e-8, atol=1e-10)
                torch.testing.assert_close(ours, gradients, rtol=1e-8, atol=1e-10)
            except (AssertionError, RuntimeError, IndexError):
                count += 1
    log_p, log_q = (x.detach().log_softmax(-1) for x in views(2, 3, 4, seed=7))
    for name in (
        "kl",
        "reverse_kl",
        "symmetric_kl",
        "js",
        "total_variation",
        "hellinger",
        "chi2",
        "renyi(0.3)",
    ):
        expected = torch.stack([slow_divergence(name, p, q) for p, q in zip(log_p.exp(), log_q.exp(), strict=True)])
        count += not torch.allclose(losses.divergence_by_name(name)(log_p, log_q), expected)
    return count


def test_the_unchanged_copy_agrees(tmp_path, expectations):
    assert disagreements(load(tmp_path, "losses_unchanged"), expectations) == 0


@pytest.mark.filterwarnings("ignore:An output with one or more elements was resized")
@pytest.mark.parametrize("number", range(len(MUTATIONS)), ids=[name.replace(" ", "_") for name in MUTATIONS])
def test_a_mutation_is_noticed(number, tmp_path, expectations):
    mutant = load(tmp_path, f"losses_mutant_{number}", list(MUTATIONS.values())[number])
    assert disagreements(mutant, expectations) > 0
