"""Which tensors of a file are an encoder's: finding the prefix and the names that another project gave them.

Torchvision, timm, MoCo, SimSiam, SimCLR, BYOL, SwAV, DINO, solo-learn and Lightly all hold the same ResNets under the
same names behind a prefix (``module.encoder_q.``, ``backbone.``, ``state_dict.online_encoder.net.``), or, where the
network was cut out of a list of layers, under numbers. A file may hold several copies, of which one is an average.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

_AVERAGED = frozenset({"momentum", "target", "teacher", "ema", "averaged", "k", "key"})
"""Words in the prefix of a copy that follows the online encoder."""
_COUNTER = "num_batches_tracked"  # of batch normalisation; older files have none, and evaluation never reads it


class NameMatch(NamedTuple):
    """An encoder found in a file.

    Attributes:
        prefix: before every name in the file.
        names: of each of the encoder's tensors that the file holds, its name there.
        left_over: the file's other tensors behind the prefix that belong to the encoder's own modules, so that
            it must be another architecture.
        left_out: the first parts of the names of all further tensors.
        others: prefixes of further copies of the same encoder in the file.
    """

    prefix: str
    names: dict[str, str]
    left_over: list[str]
    left_out: list[str]
    others: list[str]

    def missing(self, expected: Iterable[str]) -> list[str]:
        """Those of the encoder's tensors that the file lacks."""
        return [name for name in expected if name not in self.names]


def match_names(
    found: Iterable[str],
    expected: Sequence[str],
    anchor: str,
    other_names: Sequence[Mapping[str, str]] = (),
    prefix: str | None = None,
) -> NameMatch:
    """Find the encoder whose tensors are `expected` among the names of a file.

    Args:
        found: names in the file.
        expected: the encoder's names.
        anchor: the one of them that every file has: wherever it ends a name, a prefix begins.
        other_names: what other projects call the encoder's children, each a mapping from ours to theirs; where it
            is empty nobody else has such an encoder, and what stands beside its tensors is not left out.
        prefix: take the encoder behind this prefix; None for the only one, or the one that is no average.

    Returns:
        The best match; see `NameMatch.missing` and `NameMatch.left_over` for whether it is whole.

    Raises:
        ValueError: several whole encoders and none of them is plainly the online one, or none at the prefix.
    """
    present = dict.fromkeys(found)
    matches = []
    for renaming in other_names or ({},):
        start = _renamed(anchor, renaming)
        for name in present:
            if name == start or name.endswith(f".{start}"):
                matches.append(_match(present, expected, name[: len(name) - len(start)], renaming, bool(other_names)))
    if prefix is not None:
        matches = [match for match in matches if match.prefix.rstrip(".") == prefix.rstrip(".")]
        if not matches:
            raise ValueError(f"no {anchor} behind the prefix {prefix!r}")
    whole = [match for match in matches if all(n.endswith(_COUNTER) for n in match.missing(expected))]
    if not whole:
        empty = NameMatch("", {}, sorted(present), [], [])
        return max(matches, key=lambda match: len(match.names), default=empty)
    exact = [match for match in whole if not match.left_over] or whole
    online = [match for match in exact if not _AVERAGED & set(re.split(r"[._]", match.prefix.lower()))]
    if len(exact) > 1 and len(online) != 1:
        several = ", ".join(match.prefix.rstrip(".") or "(none)" for match in exact)
        raise ValueError(f"several encoders, behind the prefixes {several}: name one, as FILE#PREFIX")
    chosen = online[0] if online else exact[0]
    return chosen._replace(others=[match.prefix for match in exact if match is not chosen])


def describe(match: NameMatch, most: int = 20) -> str:
    """The mapping in words: every name where it is ours already and there are few, else by the encoder's children."""
    if len(match.names) <= most and all(ours == theirs for ours, theirs in match.names.items()):
        return ", ".join(match.names)
    groups: dict[tuple[str, str], int] = {}
    for ours, theirs in match.names.items():
        child = ours.split(".")[0]
        start = theirs[len(match.prefix) :].split(".")[0]
        groups[match.prefix + start, child] = groups.get((match.prefix + start, child), 0) + 1
    return ", ".join(
        f"{child} ({count})" if theirs == child else f"{theirs} -> {child} ({count})"
        for (theirs, child), count in groups.items()
    )


def _match(
    present: Mapping[str, None], expected: Sequence[str], prefix: str, renaming: Mapping[str, str], lenient: bool
) -> NameMatch:
    names = {name: there for name in expected if (there := prefix + _renamed(name, renaming)) in present}
    taken = set(names.values())
    children = {_renamed(name, renaming).split(".")[0] for name in expected}
    left_over, left_out = [], []
    for name in present:
        if name in taken:
            continue
        beside = name.startswith(prefix) and name[len(prefix) :].split(".")[0]
        if beside and (not lenient or beside in children):
            left_over.append(name)
        else:
            left_out.append(prefix + beside if beside else _outside(name, prefix))
    return NameMatch(prefix, names, left_over, list(dict.fromkeys(left_out)), [])


def _outside(name: str, prefix: str) -> str:
    """The first part of a name that is not the prefix's: ``module.projector.0.weight`` is ``module.projector``."""
    parts, around = name.split("."), prefix.split(".")
    for i, part in enumerate(parts):
        if i >= len(around) or part != around[i]:
            return ".".join(parts[: i + 1])
    return name


def _renamed(name: str, renaming: Mapping[str, str]) -> str:
    """A name, its first part changed."""
    first, dot, rest = name.partition(".")
    return renaming.get(first, first) + dot + rest
