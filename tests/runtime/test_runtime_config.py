"""Options from defaults, files and the command line."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from relic_rl.runtime import config_file
from relic_rl.runtime.config import coerce, dump_config, option, parse_config
from relic_rl.runtime.errors import MAX_LINE, PREFIX, BadInput


@dataclasses.dataclass(frozen=True)
class Sample:
    """Sample options."""

    env: str = option("Pong", "environment")
    agent: Literal["ppo", "r2d2"] = option("ppo", "algorithm")
    objective: Literal["none", "relic", "byol"] = option("relic", "objective")
    num_envs: int = option(8, "environments", min=1, max=1024)
    learning_rate: float = option(1e-3, "step size", above=0)
    anneal: bool = option(True, "anneal the rate")
    layers: Literal[1, 2] = option(2, "layers")
    weights: str | None = option(None, "weights")
    limit: float | None = option(None, "limit", min=0)
    sizes: tuple[int, ...] = option((32, 64), "sizes", min=1)
    num_steps: int = option(128, "steps", min=1, when={"agent": ("ppo",)})
    target: Literal["ema", "online"] = option("ema", "target", when={"objective": ("relic",)})
    decay: float = option(0.99, "decay", min=0, max=1, when={"objective": ("relic", "byol"), "target": ("ema",)})
    run_dir: str | None = option(None, "place", saved=False)

    def problems(self) -> Iterator[str]:
        if self.num_envs == 13:
            yield "--num-envs 13 is unlucky: take 12"


@pytest.fixture
def presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose presets can be written."""
    (tmp_path / "relic_rl").mkdir()
    folder = tmp_path / "configs" / "train"
    folder.mkdir(parents=True)
    (folder / "small.yaml").write_text("num_envs: 2\nlearning_rate: 0.5\n")
    (folder / "large.yaml").write_text("num_envs: 512\n")
    monkeypatch.setattr(config_file, "_PACKAGE", tmp_path / "relic_rl")
    return folder


def parse(*argv: str, **kwargs: Any) -> Sample:
    return parse_config(Sample, argv, kind="train", **kwargs)


def complaint(*argv: str, **kwargs: Any) -> str:
    with pytest.raises(BadInput) as caught:
        parse(*argv, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    assert len((PREFIX + message).encode()) <= MAX_LINE < 400
    return message


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


# ------------------------------------------------------------------ command line


def test_defaults_and_flags() -> None:
    assert parse() == Sample()
    got = parse("--num-envs", "3", "--no-anneal", "--agent=r2d2", "--layers", "1", "--sizes", "3", "4", "5")
    assert got == Sample(num_envs=3, anneal=False, agent="r2d2", layers=1, sizes=(3, 4, 5))
    assert parse("--weights", "a.st", "--limit", "2").limit == 2.0
    assert parse("--learning_rate", "1e-4").learning_rate == 1e-4  # underscores do as well


def test_all_problems_are_told_together() -> None:
    message = complaint("--num-env", "3", "--learning-rate", "x", "--layers", "7", "--decay", "2", "--num-envs", "0")
    assert "unknown option --num-env; did you mean --num-envs?" in message
    assert "--learning-rate" in message
    assert "'x'" in message
    assert "'7'" in message
    assert "--decay is 2.0: give a number at least 0 and at most 1" in message
    assert "--num-envs is 0: give a number at least 1 and at most 1024" in message


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf", "0", "-1"])
def test_numbers_out_of_range(bad: str) -> None:
    assert complaint("--learning-rate", bad) == f"--learning-rate is {float(bad)}: give a number above 0"


@pytest.mark.parametrize("bad", ["a\0b", "a\udcffb"])
def test_text_that_no_file_can_hold(bad: str, tmp_path: Path) -> None:
    assert "--weights holds bytes that are no text" in complaint("--weights", bad)
    file = write(tmp_path / "a.yaml", f"weights: {json.dumps(bad)}")
    assert "weights holds bytes" in complaint("--config", file)


def test_range_edges() -> None:
    assert parse("--decay", "0").decay == 0
    assert parse("--decay", "1").decay == 1
    assert parse("--num-envs", "1024").num_envs == 1024
    assert "--sizes is 0" in complaint("--sizes", "3", "0")
    assert "--limit is inf" in complaint("--limit", "inf")
    assert "--limit is -1.0" in complaint("--limit", "-1")
    assert "at most 1e+30" in complaint("--limit", "1e31")
    assert f"at most {2**63 - 1}" in complaint("--num-steps", str(2**63))


@pytest.mark.parametrize(
    ("argv", "fragment"),
    [
        (["stray"], "unexpected argument 'stray'"),
        (["--num-envs"], "--num-envs"),
        (["--num-envs", "--no-anneal"], "--num-envs"),
        (["--num-envs", "1.5"], "1.5"),
        (["--anneal", "maybe"], "maybe"),
        (["--agent", "dqn"], "ppo"),
        (["--no-num-envs"], "unknown option --no-num-envs"),
        (["--zzz"], "unknown option --zzz"),
        (["-x"], "-x"),
    ],
)
def test_bad_flags(argv: list[str], fragment: str) -> None:
    assert fragment in complaint(*argv)


def test_a_flood_of_problems_fits_one_line() -> None:
    message = complaint(*(f"--unknown-option-{i}" for i in range(100)), "--env\n" + "é" * 1000)
    assert message.endswith(" more")
    told = message.count("unknown option --")
    assert told >= 5
    assert message.endswith(f"; and {101 - told} more")


def test_narrow_terminal_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert "Expected one of ('ppo', 'r2d2')" in complaint("--agent", "dqn")


def test_options_without_effect_are_refused() -> None:
    message = complaint("--agent", "r2d2", "--num-steps", "3", "--objective", "none", "--decay", "0.5")
    assert "--num-steps has no effect here: it belongs to --agent ppo" in message
    assert "--decay has no effect here: it belongs to --objective relic, byol" in message
    assert "belongs to --target ema" in complaint("--target", "online", "--decay", "0.5")
    assert parse("--objective", "byol", "--decay", "0.5").decay == 0.5


@dataclasses.dataclass(frozen=True)
class Alternatives:
    """An option that serves two purposes."""

    agent: Literal["ppo", "r2d2"] = option("ppo", "algorithm")
    frames: Literal["rollout", "replay"] = option("rollout", "source")
    capacity: int = option(10, "size", when=({"agent": ("r2d2",)}, {"agent": ("ppo",), "frames": ("replay",)}))


def test_one_of_several_conditions_is_enough() -> None:
    for argv in (["--agent", "r2d2"], ["--frames", "replay"], ["--agent", "r2d2", "--frames", "replay"]):
        assert parse_config(Alternatives, [*argv, "--capacity", "3"], kind="train").capacity == 3
    with pytest.raises(BadInput, match="it belongs to --agent r2d2 or --frames replay"):
        parse_config(Alternatives, ["--capacity", "3"], kind="train")


def test_problems_of_the_whole_are_asked_last() -> None:
    assert complaint("--num-envs", "13") == "--num-envs 13 is unlucky: take 12"
    assert "unlucky" not in complaint("--num-envs", "13", "--learning-rate", "0")


def test_help_names_every_option(capsys: pytest.CaptureFixture[str], presets: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        parse("--help")
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for field in dataclasses.fields(Sample):
        assert f"--{field.name.replace('_', '-')}" in text
        assert field.metadata["help"] in text
    for expected in ("large, small", "(default: 8)", "{ppo,r2d2}", "Sample options.", "relic-rl train"):
        assert expected in text


def test_help_is_light() -> None:
    code = (
        "import sys; import relic_rl.cli; from relic_rl.runtime import config, errors, resume, rundir\n"
        "heavy = {'torch', 'envpool', 'ale_py', 'tensorboard', 'matplotlib', 'numpy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# ------------------------------------------------------------------------ files


def test_precedence(tmp_path: Path, presets: Path) -> None:
    file = write(tmp_path / "mine.yaml", "num_envs: 4\nlearning_rate: 0.25\n")
    got = parse("--config", file, "--num-envs", "5")
    assert (got.num_envs, got.learning_rate, got.agent) == (5, 0.25, "ppo")
    # a flag that repeats a default overrides a file, too
    assert parse("--config", file, "--num-envs", "8").num_envs == 8
    assert parse("--config", "small") == Sample(num_envs=2, learning_rate=0.5)


def test_default_preset_sees_the_command_line(presets: Path) -> None:
    seen: list[Sample] = []

    def choose(config: Sample) -> str | None:
        seen.append(config)
        return {"ppo": "small", "r2d2": None}[config.agent]

    assert parse("--learning-rate", "0.1", default_preset=choose) == Sample(num_envs=2, learning_rate=0.1)
    assert seen == [Sample(learning_rate=0.1)]
    assert parse("--agent", "r2d2", default_preset=choose) == Sample(agent="r2d2")
    seen.clear()
    complaint("--num-envs", "0", default_preset=choose)  # it would see what is not sound
    assert parse("--config", "large", default_preset=choose).num_envs == 512
    assert seen == []


def test_presets_of_an_installed_package_come_first(presets: Path, tmp_path: Path) -> None:
    folder = tmp_path / "relic_rl" / "configs" / "train"
    folder.mkdir(parents=True)
    (folder / "small.yaml").write_text("num_envs: 77\n")
    assert parse("--config", "small").num_envs == 77


def test_config_sources_that_do_not_exist(presets: Path, tmp_path: Path) -> None:
    assert complaint("--config", "smal").endswith("no such preset or file; the presets are large, small")
    assert "no such file" in complaint("--config", "x/y.yaml")
    assert "is a directory" in complaint("--config", str(tmp_path))
    write(tmp_path / "config.yaml", "")
    assert f"give {tmp_path}/config.yaml" in complaint("--config", str(tmp_path))
    # what a flag says and what the file says is told together
    message = complaint("--config", "smal", "--num-envs", "0")
    assert "no such preset" in message
    assert "--num-envs is 0" in message


def test_a_local_file_does_not_shadow_a_preset(presets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "small", "num_envs: 99\n")
    assert parse("--config", "small").num_envs == 2
    assert parse("--config", "./small").num_envs == 99


def test_everything_wrong_in_a_file_is_told(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml", "num_env: 3\nanneal: 'yes'\nlearning_rate: .nan\nagent: dqn\n")
    message = complaint("--config", file)
    assert message.startswith(f"{file}: unknown option 'num_env'; did you mean num_envs?")
    assert "anneal is 'yes': give true or false" in message
    assert "learning_rate is nan: give a number above 0" in message
    assert "agent is 'dqn': give one of ppo, r2d2" in message


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("num_envs: true", "an integer"),
        ("num_envs: 2.0", "an integer"),
        ("num_envs: '2'", "an integer"),
        ("learning_rate: true", "a number"),
        ("learning_rate: fast", "a number"),
        ("anneal: 1", "true or false"),
        ("env: 5", "text"),
        ("env: null", "text"),
        ("layers: true", "one of 1, 2"),
        ("layers: 3", "one of 1, 2"),
        ("weights: 5", "text (in quotes, if it looks like a number), or null"),
        ("limit: [1]", "a number, or null"),
        ("sizes: 3", "a list"),
        ("sizes: [1, a]", "an integer"),
        ("sizes: [1, 0]", "at least 1"),
        ("3: 4", "unknown option 3"),
        ("- a", "holds no options"),
        ("text", "holds no options"),
        ("a: [", "is not YAML, line"),
        ("env: a\nenv: b", "sets env twice"),
        ("env: !!python/object/apply:os.getcwd []", "is not YAML"),
        ("agent: r2d2\nnum_steps: 3", "num_steps has no effect here"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, fragment: str) -> None:
    assert fragment in complaint("--config", write(tmp_path / "a.yaml", text))


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xff\xfe\x00env: a")
    assert "is not YAML" in complaint("--config", str(path))
    path.write_text("[" * 60_000)
    assert "is not YAML" in complaint("--config", str(path))


def test_numbers_as_people_write_them(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml", "learning_rate: 1e-4\nlimit: 3\nsizes: []\n# nothing else\n")
    got = parse("--config", file)
    assert (got.learning_rate, got.limit, got.sizes) == (1e-4, 3.0, ())
    assert isinstance(got.limit, float)
    assert parse("--config", write(tmp_path / "b.yaml", "# nothing\n")) == Sample()


def test_a_file_for_one_agent_serves_another(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml", "num_steps: 7\ndecay: 0.5\nobjective: byol\n")
    assert parse("--config", file).num_steps == 7
    # what has no effect any more is at its default, so that two ways to the same run give the same options
    assert parse("--config", file, "--agent", "r2d2") == Sample(agent="r2d2", objective="byol", decay=0.5)


@pytest.mark.parametrize(
    "config",
    [
        Sample(),
        Sample(agent="r2d2", objective="none", env="null", weights="1e-3", learning_rate=1e-12, sizes=()),
        Sample(target="online", env="a: b # é\n\tc", limit=1e30, layers=1, anneal=False),
    ],
)
def test_what_is_written_reads_the_same(tmp_path: Path, config: Sample) -> None:
    text = dump_config(config, "relic-rl train\n--config x", notes=["auto chose fp32"])
    assert text.startswith("# relic-rl train --config x\n# auto chose fp32\n")
    path = write(tmp_path / "config.yaml", text)
    assert parse("--config", path) == config
    assert dump_config(parse("--config", path), "relic-rl train --config x", ["auto chose fp32"]) == text


def test_what_has_no_effect_or_says_where_is_not_written() -> None:
    text = dump_config(Sample(agent="r2d2", target="online", run_dir="/tmp/x"), "x")
    assert "num_envs: 8\n" in text
    for absent in ("num_steps", "decay", "run_dir"):
        assert absent not in text


def test_coerce_keeps_types_apart() -> None:
    assert type(coerce(1, float)) is float
    with pytest.raises(TypeError, match="one of 1, 2"):
        coerce(1.0, Literal[1, 2])


def test_texts_may_come_as_a_block() -> None:
    block = {"blur": 0.5, "crop_area": [0.08, 1.0], "shift": 4}
    assert coerce(block, tuple[str, ...]) == ("blur=0.5", "crop_area=[0.08, 1.0]", "shift=4")
    assert coerce(["blur=0.5"], tuple[str, ...]) == ("blur=0.5",)
    for value in (block, "blur=0.5"):
        with pytest.raises(TypeError, match="a list"):
            coerce(value, tuple[int, ...])
