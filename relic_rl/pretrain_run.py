"""A pretraining run under way: its loop, its checkpoints and its records."""

from __future__ import annotations

import io
import time
from typing import Any

from relic_rl.evaluation.collapse import CollapseWatch
from relic_rl.evaluation.knn import knn_accuracy
from relic_rl.images.batches import BatchPlan, ImageSource
from relic_rl.pretrain_learner import PretrainLearner
from relic_rl.pretrain_options import PretrainConfig
from relic_rl.runtime.checkpoint import Loaded, save_checkpoint
from relic_rl.runtime.distributed import gather_to_all, largest
from relic_rl.runtime.errors import BadInput
from relic_rl.runtime.interrupts import Interrupts
from relic_rl.runtime.metrics import MetricLogger
from relic_rl.runtime.progress import Progress
from relic_rl.runtime.rundir import RunDir

COLUMNS = ("step", "epoch", "images", "seconds", "steps_per_second", "images_per_second")
ROW_UPDATES = 10  # least from one row to the next


class PretrainRun:
    """Trains until the epochs are over or a signal comes.

    The order of images is a function of seed and update, so what the learner keeps, counters and seconds are
    all that a checkpoint holds; a resumed run continues exactly.

    Args:
        config: the options.
        source: the images.
        plan: which image comes when, from the first batch on.
        learner: what learns.
        watch: warns of a collapse.
        directory: the run's directory; None in all processes but the writer.
        interrupts: asked between updates.
        loaded: the checkpoint to continue from, or None.

    Raises:
        BadInput: the checkpoint does not fit.
    """

    def __init__(
        self,
        config: PretrainConfig,
        source: ImageSource,
        plan: BatchPlan,
        learner: PretrainLearner,
        watch: CollapseWatch,
        directory: RunDir | None,
        interrupts: Interrupts,
        loaded: Loaded | None,
    ) -> None:
        self.config = config
        self.source = source
        self.plan = plan
        self.learner = learner
        self.watch = watch
        self.directory = directory
        self.interrupts = interrupts
        self.exit_code = 0  # of the signal that all processes have agreed to heed
        self.knn_accuracy: float | None = None
        self.per_epoch = plan.per_epoch // config.accumulate
        seconds = 0.0
        if loaded is not None:
            try:
                seconds = self._load(loaded.state)
            except BadInput:
                raise
            except (KeyError, RuntimeError, ValueError, TypeError) as error:
                raise BadInput(
                    f"checkpoint {loaded.path} does not fit these options: resume with those it was made with"
                ) from error
        self._row_at = (learner.updates, seconds)
        self.log: MetricLogger | None = None
        if directory is not None:
            self.log = MetricLogger(
                directory.path,
                step=learner.updates,
                seconds=seconds,
                row_steps=ROW_UPDATES,
                row_seconds=config.log_every,
                columns=COLUMNS,
            )
        # Of several processes one speaks.
        output = None if directory is not None else io.StringIO()
        self.progress = Progress(learner.total, every=config.log_every, file=output)

    # ---------------------------------------------------------------- training

    def train(self) -> None:
        """Train until the epochs are over or a signal asks to stop; a checkpoint is written either way."""
        learner = self.learner
        self.save()
        saved_at = time.monotonic()
        batches = iter(self.source.batches(self.plan.starting(learner.updates * self.config.accumulate)))
        with self.progress:
            while learner.updates < learner.total and not self.exit_code:
                learner.update(batches)
                row_due = self.log is not None and self.log.due(learner.updates)
                save_due = time.monotonic() - saved_at >= self.config.checkpoint_every
                # One round of small numbers: all processes stop, and write a row, after the same update.
                signals = [self.interrupts.exit_code, int(row_due), int(save_due)]
                # What came since is for the next round: overwritten, or heeded by this process alone, it would do harm.
                self.exit_code, row, save = largest(signals)
                if self._knn_due() and not self.exit_code:
                    self.judge()
                if row:
                    self._write_row()
                if save:
                    self.save()
                    saved_at = time.monotonic()
            self._write_row(final=True)
            self._gather_broken()
            self.save()
        if self.log is not None:
            self.log.close()

    def _knn_due(self) -> bool:
        epoch, rest = divmod(self.learner.updates, self.per_epoch)
        every = self.config.knn_every
        return every > 0 and rest == 0 and (epoch % every == 0 or epoch == self.config.epochs)

    def judge(self) -> None:
        """Test the nearest neighbours of test images, in the writer alone and with its clock stopped."""
        if self.log is None:
            return
        with self.log.pause():
            test = self.source.test_sample(self.config.knn_images)
            if test is None:
                return
            self.knn_accuracy = knn_accuracy(
                self.learner.encoder,
                lambda images: self.learner.views.plain(images, self.config.image_size),
                self.source.reference_sample(self.config.knn_images),
                test,
                self.source.num_classes,
                self.learner.device,
            )
        if self.knn_accuracy is None:
            return
        self.log.add({"knn/accuracy": self.knn_accuracy})
        epoch = self.learner.updates // self.per_epoch
        self.progress.note(f"epoch {epoch}: nearest neighbours {self.knn_accuracy:.1%}")

    # ----------------------------------------------------------------- records

    def _write_row(self, *, final: bool = False) -> None:
        """Write a row of means over updates and processes; all processes call it together."""
        updates = self.learner.updates
        metrics = self.learner.means.take()
        if self.log is None:
            return
        seconds, (before, then) = self.log.seconds, self._row_at
        epoch, images = updates / self.per_epoch, updates * self.config.batch_size
        rate = (updates - before) * self.config.batch_size / max(seconds - then, 1e-9)
        self.log.add(metrics)
        self.log.write_row(updates, {"epoch": epoch, "images": images, "images_per_second": rate})
        self._row_at = (updates, seconds)
        warning = self.watch.look(updates, metrics)
        if warning is not None:
            self.progress.note(f"warning: {warning}")
        fares = f"probe {metrics['probe/accuracy']:.1%}" if "probe/accuracy" in metrics else ""
        done = f"epoch {epoch:.2f}" + (f"  {rate:,.0f} images/s" if updates > before else "")
        self.progress.show(updates, seconds, done=done, fares=fares, metrics=metrics, final=final)

    def _gather_broken(self) -> None:
        """Let the writer know of all files that any process could not use."""
        for others in gather_to_all(dict(self.source.broken)):
            self.source.broken.update(others)

    def record(self) -> dict[str, Any]:
        """What was done, for ``result.json``; the writer's."""
        assert self.log is not None
        seconds, images = self.log.seconds, self.learner.updates * self.config.batch_size
        return {
            "data": self.config.data,
            "data_fingerprint": self.source.fingerprint,
            "training_images": self.source.num_images,
            "encoder": self.config.encoder,
            "objective": self.config.objective,
            "seed": self.config.seed,
            "epochs": self.config.epochs,
            "updates": self.learner.updates,
            "skipped_updates": self.learner.guard.skipped,
            "images": images,
            "seconds": seconds,
            "images_per_second": images / max(seconds, 1e-9),
            "processes": self.plan.world_size,
            "knn_accuracy": self.knn_accuracy,
            "warnings": self.watch.warnings,
            "broken_files": dict(sorted(self.source.broken.items())),
        }

    # ------------------------------------------------------------- checkpoints

    def save(self) -> None:
        """Write a checkpoint; the writer alone."""
        if self.directory is None or self.log is None:
            return
        state: dict[str, Any] = {
            "learner": self.learner.state_dict(),
            "seconds": self.log.seconds,
            "data": self.source.fingerprint,
            "broken": dict(self.source.broken),
            "warnings": list(self.watch.warnings),
            "knn_accuracy": self.knn_accuracy,
        }
        updates = self.learner.updates
        save_checkpoint(self.directory.checkpoints, updates, state, keep_last=self.config.keep_checkpoints)

    def _load(self, state: dict[str, Any]) -> float:
        """Continue from a checkpoint's state; the seconds of training that went before."""
        if state["data"] != self.source.fingerprint:
            raise BadInput("the training images are not those that this run began with: put them back, or start anew")
        self.learner.load_state_dict(state["learner"])
        self.source.broken.update(state["broken"])
        self.watch.warnings.extend(state["warnings"])
        self.knn_accuracy = state["knn_accuracy"]
        seconds: float = state["seconds"]
        return seconds
