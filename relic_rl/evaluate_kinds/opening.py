"""What every evaluation of an encoder begins and ends with."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from relic_rl.evaluate_kinds.data import Splits, data_channels, open_splits
from relic_rl.evaluate_kinds.encoders import LoadedEncoder, load_encoder
from relic_rl.evaluate_kinds.shared_options import EncoderOptions
from relic_rl.evaluation.features import (
    FeatureSet,
    feature_key,
    in_memory,
    in_turn,
    own_rows,
    stored_or_computed,
    stream_features,
)
from relic_rl.evaluation.held_out import at_the_edge
from relic_rl.evaluation.report import ReportFolder, write_report
from relic_rl.images.cache import cache_folder
from relic_rl.images.splits import Split, SplitBatch
from relic_rl.runtime.device import device_name, resolve_device, set_threads
from relic_rl.runtime.distributed import (
    Processes,
    failures_of_others,
    gather_to_all,
    local_device,
    process_group,
    together,
)
from relic_rl.runtime.errors import RunFailed, fit_line, user_errors
from relic_rl.runtime.precision import set_fp32_products
from relic_rl.runtime.rundir import versions
from relic_rl.runtime.seeding import Streams

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SECONDS = 10.0  # between two lines of progress


@dataclasses.dataclass
class Evaluation:
    """An encoder, images and a folder for the report.

    Attributes:
        kind: of the evaluation.
        options: those given.
        name: the encoder's in tables.
        device: where it computes.
        dtype: of autocast; None for fp32.
        encoder: the encoder, frozen.
        splits: the images.
        folder: where the report goes; None in all processes but the writer.
        streams: random numbers by purpose.
        processes: this one among all.
    """

    kind: str
    options: EncoderOptions
    name: str
    device: torch.device
    dtype: torch.dtype | None
    encoder: LoadedEncoder
    splits: Splits
    folder: ReportFolder | None
    streams: Streams
    processes: Processes = Processes()
    _told_at: float = dataclasses.field(default_factory=time.monotonic)

    def note(self, message: str) -> None:
        """Tell the user; of several processes one speaks."""
        if self.processes.is_writer:
            print(message, flush=True)

    def prepare(self, images: Tensor) -> Tensor:
        """Images, uint8 [B, C, H, W], as the encoder takes them: float32, as in pretraining without augmentation."""
        return self.encoder.views.plain(images, self.encoder.image_size)

    def features_of(self, split: Split, what: str) -> FeatureSet:
        """Frozen features of all images of any split, from the cache where it has them.

        Several processes each encode a part, and all of them get all.

        Args:
            split: the images.
            what: the split's name, for progress.

        Raises:
            RunFailed: the cache cannot be written, or no image can be used.
        """

        count, batch_size = len(split), self.options.batch_size

        def own() -> Iterator[tuple[Tensor, Any]]:
            rows = own_rows(count, batch_size, self.processes)
            batches = self._watched(split.batches(batch_size, rows), count, what)
            for found, of in stream_features(self.encoder.module, batches, self.prepare, self.device, self.dtype):
                if not bool(torch.isfinite(found).all()):
                    raise RunFailed("the encoder's features are not finite: use --precision fp32, or other weights")
                yield found, of

        def stream() -> Iterator[tuple[Tensor, Any]]:
            return in_turn(own(), count, batch_size, split.broken, self.processes)

        dim = self.encoder.module.feature_dim
        if self.options.cache_features:
            key = feature_key(
                encoder=self.encoder.content_hash,
                images=split.fingerprint,
                image_size=self.encoder.image_size,
                grey=self.encoder.views.grey,
                stack=self.encoder.views.stack,
                precision=self.options.precision,
                device=self.device.type,
            )
            place = cache_folder() / "features" / key
            features, rows = stored_or_computed(place, stream, dim, split.broken, self.processes)
        else:
            features, rows = in_memory(stream(), dim)
            if not len(rows):
                raise RunFailed(f"none of the images of {what} can be used")
        labels = {name: torch.from_numpy(values)[rows] for name, values in split.labels.items()}
        groups = None if split.groups is None else torch.from_numpy(split.groups)[rows]
        return FeatureSet(features, labels, self.splits.num_classes, rows, groups)

    def features(self, name: str) -> FeatureSet:
        """`features_of` a split by its name."""
        return self.features_of(self.splits[name], name)

    def finish(
        self,
        metrics: Mapping[str, float | None],
        details: Mapping[str, Any] | None = None,
        *,
        table: str | None = None,
        figures: Mapping[str, Figure] | None = None,
    ) -> int:
        """Write the report and say where it is; the exit code.

        Args:
            metrics: what tables show, by name, fractions rather than per cent; None where there is no such number.
            details: everything else worth keeping, plain values.
            table: Markdown; None for a table of the metrics.
            figures: by name, each becomes NAME.png; None for bars of the metrics.
        """
        if self.folder is None:
            return 0
        options = dataclasses.asdict(self.options)
        result = {
            "kind": self.kind,
            "name": self.name,
            "metrics": dict(metrics),
            "details": dict(details or {}),
            "encoder": self.encoder.about(),
            "data": self.splits.about(),
            "options": options,
            "processes": self.processes.world_size,
            "versions": versions() | {"device": device_name(self.device)},
        }
        path = write_report(self.folder, result, table=table, figures=figures)
        broken = sum(len(split.broken) for split in self.splits.named.values())
        if broken:
            self.note(f"{broken} files could not be used: result.json lists them")
        self.note((path / "table.md").read_text(encoding="utf-8"))
        self.note(f"report: {path}")
        return 0

    def at_the_edge(self, what: str, flag: str, chosen: float, sweep: Mapping[float, float]) -> bool:
        """Whether a wider sweep of a hyper-parameter may do better, of which the user is told; see `at_the_edge`."""
        edge = at_the_edge(chosen, sweep)
        if edge:
            self.note(f"{what}: {chosen:g} is at the edge of --{flag}: a wider sweep may do better")
        return edge

    def progress(self, what: str, done: int, total: int) -> None:
        """Tell now and then how far something is."""
        if time.monotonic() - self._told_at >= _SECONDS:
            self._told_at = time.monotonic()
            self.note(f"{what}: {done:,} of {total:,}")

    def _watched(self, batches: Iterator[SplitBatch], total: int, what: str) -> Iterator[SplitBatch]:
        for batch in batches:
            yield batch
            self.progress(f"features of {what}, images", int(batch.rows[-1]) + 1, total)


@contextlib.contextmanager
def open_evaluation(
    kind: str,
    options: EncoderOptions,
    *,
    needs: tuple[str, ...] = ("train", "test"),
    processes: Processes = Processes(),  # noqa: B008 (immutable)
) -> Iterator[Evaluation]:
    """Load the encoder, open the data, claim the report's folder; leave nothing behind if anything is wrong.

    Args:
        kind: of the evaluation.
        options: those given.
        needs: splits that the data must have.
        processes: this one among all that measure together.

    Raises:
        BadInput: any of it cannot be had.
    """
    set_threads(options.threads, processes.local_world_size)
    device = resolve_device(local_device(options.device, processes))
    set_fp32_products(device)
    with contextlib.ExitStack() as stack:
        peers = stack.enter_context(process_group(processes, device))
        stack.enter_context(failures_of_others(peers))
        with user_errors():
            encoder = together(lambda: load_encoder(options, data_channels(options.data), device))
            name = fit_line(options.name or encoder.objective, 60) or "unknown"

            def open_folder() -> ReportFolder | None:
                return ReportFolder(options.out, default=f"{kind}-{name}") if processes.is_writer else None

            folder = together(open_folder)
            if folder is not None:
                stack.enter_context(folder)
                for line in encoder.notes:
                    print(line, flush=True)

            def opened() -> Splits:
                return open_splits(options, encoder.image_size, device, print, needs=needs, processes=processes)

            splits = together(opened)
        dtype = torch.bfloat16 if options.precision == "bf16" else None
        streams = Streams(options.seed)
        yield Evaluation(kind, options, name, device, dtype, encoder, splits, folder, streams, processes)
        gather_to_all(None)  # one that left while the writer still works would count as lost
