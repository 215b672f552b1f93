"""Styles of a screen, and the control task whose look is style alone."""

import hashlib

import numpy as np
import pytest

from envs.make import make_vector_env
from envs.screen_styles import SCREEN_STYLES, SEVERITIES
from envs.style_shift import COLUMNS, FACTORS, _cross, _ring, draw_style, pattern
from envs.styled import StyledEnv


def screens(size: int = 42) -> np.ndarray:
    """Random grey cells of 6 x 6 pixels, those at two of the borders cut off."""
    cells = np.random.default_rng(0).integers(0, 256, (3, 1, -(-size // 6), -(-size // 6)), dtype=np.uint8)
    return np.kron(cells, np.ones((1, 1, 6, 6), dtype=np.uint8))[:, :, :size, :size]


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


@pytest.mark.parametrize("name", SCREEN_STYLES)
def test_a_style_grows_with_its_severity_at_any_size_and_leaves_its_input_alone(name):
    for size in range(20, 97, 4):
        frames = screens(size)
        if name == "translation":  # of cells the change stops growing once they meet their neighbours
            frames = np.broadcast_to(np.arange(size, dtype=np.uint8), (1, 1, size, size))
        before = frames.copy()
        changes = [0.0]
        for severity in SEVERITIES:
            styled = SCREEN_STYLES[name](frames, severity, rng())
            assert (styled.dtype, styled.shape) == (np.uint8, frames.shape)
            assert np.array_equal(styled, SCREEN_STYLES[name](frames, severity, rng()))
            changes.append(np.abs(styled.astype(int) - frames).mean())
        assert all(np.diff(changes) > 0), size
        assert np.array_equal(frames, before)


def test_styles_of_the_usual_screen_are_pinned():
    """Scores of agents under styles are comparable only while these stay as they are."""
    digest = hashlib.sha256()
    for change in SCREEN_STYLES.values():
        for severity in SEVERITIES:
            digest.update(change(screens(84), severity, rng()).tobytes())
    assert digest.hexdigest() == "8636eb79973e2cde487705e6cf00dbd79afda62b3010fe202d1cd4a90a4d5d8f"


def test_lengths_follow_the_smaller_side():
    wide = np.random.default_rng(0).integers(0, 256, (1, 1, 42, 160), dtype=np.uint8)
    for frames in (wide, wide.swapaxes(2, 3)):
        covered = SCREEN_STYLES["border"](frames, 4, rng())[0, 0] == 128
        assert (covered.all(axis=0).sum(), covered.all(axis=1).sum()) == (8, 8)  # twice 8 of 84 pixels, halved


def test_styles_by_hand():
    frames = screens()
    level = frames.astype(float)

    def styled(name, severity):
        return SCREEN_STYLES[name](frames, severity, rng())

    assert np.array_equal(styled("brightness", 2), np.minimum(level + 40, 255))
    assert np.array_equal(styled("contrast", 4), (127.5 + 0.3 * (level - 127.5)).round())
    assert np.array_equal(styled("gamma", 3), (255 * (level / 255) ** 2).round())
    assert np.array_equal(styled("inversion", 5), 255 - frames)
    assert np.array_equal(styled("inversion", 1)[:, :, 9:], frames[:, :, 9:])  # a fifth of 42 rows, rounded up
    assert np.array_equal(styled("translation", 3)[:, :, 3:, 3:], frames[:, :, :-3, :-3])  # half of 4 is not enough
    large = screens(84)
    assert np.array_equal(SCREEN_STYLES["translation"](large, 3, rng())[:, :, 4:, 4:], large[:, :, :-4, :-4])
    assert np.array_equal(styled("border", 2)[:, :, 2:-2, 2:-2], frames[:, :, 2:-2, 2:-2])
    assert (styled("border", 2)[:, :, :2] == 128).all()
    assert not styled("scanlines", 5)[:, :, 1::2].any()
    assert np.array_equal(styled("scanlines", 5)[:, :, ::2], frames[:, :, ::2])
    flat = np.full_like(frames, 77)
    assert np.array_equal(SCREEN_STYLES["blur"](flat, 5, rng()), flat)
    spread = (SCREEN_STYLES["noise"](np.full((9, 1, 84, 84), 128, dtype=np.uint8), 2, rng()) - 128.0).std()
    assert spread == pytest.approx(16, rel=0.02)


def play(env, steps=60):
    actions = np.random.default_rng(5).integers(env.num_actions, size=(steps, env.num_envs))
    return [env.reset(), *(env.step(action) for action in actions)]


def test_a_styled_game_is_the_same_game_and_each_frame_is_styled_once():
    plain = play(make_vector_env("relic/Counting-v0", 3, seed=0))
    styled = play(StyledEnv(make_vector_env("relic/Counting-v0", 3, seed=0), "noise", 3, np.random.SeedSequence(4)))
    again = play(StyledEnv(make_vector_env("relic/Counting-v0", 3, seed=0), "noise", 3, np.random.SeedSequence(4)))
    stack = plain[0].observation.shape[1]
    for t, (a, b, c) in enumerate(zip(plain, styled, again, strict=True)):
        assert np.array_equal(a.reward, b.reward)
        assert np.array_equal(a.terminated, b.terminated)
        assert np.array_equal(b.observation, c.observation)
        assert not np.array_equal(a.observation, b.observation)
        for i in range(3):
            if b.invented[i]:
                assert all(np.array_equal(b.observation[i, k], b.observation[i, -1]) for k in range(stack))
            else:  # the older frames look as they did before
                assert np.array_equal(b.observation[i, :-1], styled[t - 1].observation[i, 1:])
        if t:  # rows that never show anything: the noise of every step is another
            assert not np.array_equal(b.observation[:, -1, 20:], styled[t - 1].observation[:, -1, 20:])


def test_frames_of_a_stack_in_colour_are_styled_once_each():
    def stacked():
        return make_vector_env("rgb_envs:Bars-v0", 2, seed=0, stack=3)

    plain, styled = play(stacked(), 20), play(StyledEnv(stacked(), "noise", 5, np.random.SeedSequence(4)), 20)
    for t, (a, b) in enumerate(zip(plain, styled, strict=True)):
        assert a.observation.shape == b.observation.shape == (2, 9, 36, 40)
        assert not np.array_equal(a.observation[:, -3:], b.observation[:, -3:])
        # Noise is about 0: the mean tells which frame it lies on.
        assert abs(b.observation[:, 6:].mean((2, 3)) - a.observation[:, 6:].mean((2, 3))).max() < 25
        for i in range(2):
            if b.invented[i]:
                assert np.array_equal(b.observation[i], np.tile(b.observation[i, -3:], (3, 1, 1)))
            else:
                assert np.array_equal(b.observation[i, :-3], styled[t - 1].observation[i, 3:])


def test_bad_styles_are_refused():
    env = make_vector_env("relic/Counting-v0", 1, seed=0)
    with pytest.raises(ValueError, match="unknown style"):
        StyledEnv(env, "noisy", 1, np.random.SeedSequence(0))
    with pytest.raises(ValueError, match="severity is 6"):
        StyledEnv(env, "noise", 6, np.random.SeedSequence(0))


def test_style_shift_plays_the_same_games_in_both_styles():
    seen, unseen = (
        play(make_vector_env(f"relic/{name}-v0", 4, seed=3), 90) for name in ("StyleShift", "StyleShiftTest")
    )
    for a, b in zip(seen, unseen, strict=True):
        assert np.array_equal(a.reward, b.reward)
        assert np.array_equal(a.invented, b.invented)
        assert not np.array_equal(a.observation, b.observation)


def test_style_shift_rewards_the_ring_and_not_the_cross():
    """An agent that is told where the ring falls earns every reward; random play earns none on average."""
    env = make_vector_env("relic/StyleShift-v0", 8, seed=0)
    env.reset()
    total = np.zeros(8)
    for t in range(40):
        target = env._columns[np.arange(8), min(t // 8, 4), 0]
        total += (step := env.step(1 + np.sign(target - env._board["paddle"]))).reward
    assert (total == 5).all()
    assert step.terminated.all()
    returns = np.concatenate(
        [s.episode_return[s.terminated] for s in play(make_vector_env("relic/StyleShift-v0", 32, seed=1), 410)]
    )
    assert abs(returns.mean()) < 4 * returns.std() / np.sqrt(len(returns))
    assert returns.std() > 0.3


def test_what_the_paddle_touches():
    """At most one column beside it; 9 copies, the paddle in each of the columns."""
    env = make_vector_env("relic/StyleShift-v0", COLUMNS, seed=0)
    env.reset()
    env._columns[:, 0] = 2, 6  # of ring and cross
    env._board["paddle"][:] = np.arange(COLUMNS)
    rewards = [env.step(np.ones(COLUMNS, dtype=np.int64)).reward for _ in range(8)]
    assert not np.any(rewards[:7])
    assert rewards[7].tolist() == [0, 1, 1, 1, 0, -1, -1, -1, 0]


def test_what_the_paddle_can_reach():
    env = make_vector_env("relic/StyleShift-v0", 2, seed=0)
    env.reset()
    for _ in range(COLUMNS + 2):
        env.step(np.array([0, 2]))
    assert env._board["paddle"].tolist() == [0, COLUMNS - 1]


@pytest.mark.parametrize("size", [8, 16])
def test_ring_and_cross_are_seen_alike_from_every_side(size):
    ring, cross = _ring(size), _cross(size)
    middle = slice(size // 2 - 1, size // 2 + 1)
    assert not ring[middle, middle].any()
    assert cross[middle, middle].all()
    assert ring[middle, 0].all()
    assert not cross[middle, 0].any()
    assert cross.sum() == pytest.approx(1.4 * ring.sum(), rel=0.05)
    for shape in (ring, cross):
        assert np.array_equal(shape, shape.T)
        assert np.array_equal(shape, shape[::-1])


def test_styles_are_drawn_apart():
    assert not set(FACTORS["train"].textures) & set(FACTORS["unseen"].textures)
    assert not set(FACTORS["train"].grounds) & set(FACTORS["unseen"].grounds)
    assert FACTORS["unseen"].contrast[1] < FACTORS["train"].contrast[0]
    for factors in FACTORS.values():
        draws = [draw_style(factors, 40, np.random.default_rng(i)) for i in range(60)]
        assert {bool(figure.mean() > ground.mean()) for figure, ground in draws} == {True, False}
        for figure, ground in draws:  # figures stand out at every pixel
            assert min(abs(figure.astype(int).min() - ground.max()), abs(ground.astype(int).min() - figure.max())) > 10
        for kind in (*factors.textures, *factors.grounds):
            values = pattern(kind, 40, np.random.default_rng(0))
            assert np.abs(values).max() <= 1 + 1e-6
    with pytest.raises(ValueError, match="unknown pattern"):
        pattern("tartan", 40, rng())


def test_style_shift_can_be_restored():
    env, other = (make_vector_env("relic/StyleShift-v0", 3, seed=2) for _ in range(2))
    play(env, 60)  # into the second game
    other.reset()
    other.set_state(env.get_state())
    action = np.array([0, 1, 2])
    for _ in range(30):
        a, b = env.step(action), other.step(action)
        assert np.array_equal(a.observation[:, -1], b.observation[:, -1])
        assert np.array_equal(a.reward, b.reward)
