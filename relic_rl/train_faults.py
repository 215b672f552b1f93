"""What becomes of a training run that cannot go on: its state is saved where that is possible, and a line says so."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from envs.types import VectorEnv
from envs.watchdog import EngineError, WatchedEnv
from relic_rl.runtime.errors import RunFailed, end_process
from relic_rl.runtime.files import write_json
from relic_rl.runtime.guard import NotFinite
from relic_rl.runtime.liveness import Peers
from relic_rl.train_options import CONTRASTIVE, TrainConfig
from relic_rl.train_run import Run

DUMP = "not-finite.json"


def memory_remedy(config: TrainConfig) -> str:
    """Which options to change when memory runs out, the current values with them."""
    if config.agent == "ppo":
        remedy = f"lower --num-envs {config.num_envs} or raise --num-minibatches {config.num_minibatches}"
    else:
        remedy = f"lower --batch-size {config.batch_size} or --sequence-length {config.sequence_length}"
    return remedy + (f", or lower --aux-batch-size {config.aux_batch_size}" if config.objective in CONTRASTIVE else "")


@contextlib.contextmanager
def watched(env: VectorEnv, config: TrainConfig) -> Iterator[WatchedEnv]:
    """The environment under watch, closed at the end of this block; a failure ends the run.

    Raises:
        RunFailed: the engine failed within this block.
    """
    watched_env = WatchedEnv(env, config.env, config.env_timeout, end_process)
    try:
        yield watched_env
    except EngineError as error:
        raise RunFailed(str(error)) from error
    finally:
        watched_env.close()


@contextlib.contextmanager
def rescued(run: Run) -> Iterator[None]:
    """Save what a failure within this block leaves, and pass it on.

    After a failure of the engine the games in flight are lost, and the rollout they were part of. After one of
    the disk all there is is saved, if the disk takes it by now; what somebody deleted is made anew. Numbers that
    are not finite have not reached the weights: the newest checkpoint is as good as they are, and what was seen
    is written beside it. Of several processes none can save without the others: the newest checkpoint is what is kept.
    """
    try:
        yield
    except EngineError:
        if not run.processes.are_several:
            run.save(games=False)
        raise
    except OSError:
        if run.directory is not None and not run.processes.are_several:
            with contextlib.suppress(OSError):
                run.directory.restore()
                run.save(games=run.agent.at_boundary)
        raise
    except NotFinite as error:
        if run.directory is None:
            raise
        where = {"agent_steps": run.agent.steps, "updates": run.agent.updates}
        write_json(run.directory.path / DUMP, where | error.seen)
        raise RunFailed(f"{error}; what was seen is in {DUMP}") from error


def end_hung_run(run: Run, peers: Peers | None, message: str) -> None:
    """Save and end the process, from the watchdog's thread: nothing else gets the other one out of the engine.

    Args:
        run: its thread is held inside the engine, so agent and records do not change meanwhile.
        peers: the other processes, which are told; None for a single process, which alone can save.
        message: what hangs.
    """
    if peers is not None:
        peers.close(message)
    else:
        with contextlib.suppress(Exception):  # saved or not, the process must end
            run.save(games=False)
    run.progress.stop()
    end_process(f"{message}; {run.directory.kept()}" if run.directory is not None else message)
