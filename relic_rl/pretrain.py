"""The door to pretraining on images: ``python -m relic_rl.pretrain --data DIR``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from relic_rl.data_options import ATARI, GENERATED
from relic_rl.pretrain_options import PretrainConfig
from relic_rl.runtime.config import parse_config
from relic_rl.runtime.errors import run_door
from relic_rl.runtime.resume import resolve_resume


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, train, save the encoder.

    Returns:
        0 done, 1 failed while running, 2 bad input, 130 interrupted, 143 terminated (the last two after saving).
    """
    return run_door(lambda: _pretrain(argv))


def _pretrain(argv: Sequence[str] | None) -> int:
    config = parse_config(PretrainConfig, argv, kind="pretrain", default_preset=base_options)
    from relic_rl.pretraining import pretrain  # noqa: PLC0415 (late: torch takes seconds, --help needs none)

    return pretrain(config)


def base_options(config: PretrainConfig) -> str | None:
    """Where the options of a command without --config come from.

    A resumed run's own, else the preset of the data: that of image folders depends on the encoder.
    """
    resume = resolve_resume(config.resume, config.run_dir)
    if resume is not None and resume.config_file is not None:
        return str(resume.config_file)
    if config.data in (ATARI, GENERATED):
        return "atari-frames" if config.data == ATARI else "content-style"
    return {"nature": "imagenet-nature", "impala": "imagenet-impala", "resnet50": "imagenet-resnet50-100ep"}.get(
        config.encoder
    )


if __name__ == "__main__":
    sys.exit(main())
