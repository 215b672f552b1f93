"""The arms of a comparison: an objective, with options of its own if it has any."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, NamedTuple

_ARM = re.compile(r"(?P<objective>\w+)\s*(?:\((?P<options>.*)\))?")


class Arm(NamedTuple):
    """What one arm does differently.

    Attributes:
        objective: its name.
        options: further options with their text, as typed.
    """

    objective: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """``relic``, ``relic(alpha=2,divergence=js)``."""
        return arm_label(self.objective, dict(self.options))

    @property
    def folder(self) -> str:
        """The label as a folder's name: ``relic-alpha=2-divergence=js``."""
        return re.sub(r"[^\w.=+]+", "-", self.label).strip("-.")


def arm_label(objective: str, options: Mapping[str, Any]) -> str:
    """``relic(alpha=2,divergence=js)``; without options the objective alone, of a file what tells it from others."""
    inside = ",".join(f"{name}={_short(str(value))}" for name, value in options.items())
    return f"{objective}({inside})" if inside else objective


def _short(value: str) -> str:
    """A path's file without its type, its folder for the file that every run has: ``NAME`` for
    ``runs/NAME/encoder.safetensors``; other values as they are.
    """
    path = PurePath(value)
    if len(path.parts) < 2:
        return value
    return path.parent.name if path.name == "encoder.safetensors" else path.stem


def parse_arms(texts: Iterable[str]) -> list[Arm]:
    """Arms as the command line gives them, such as ``relic(alpha=2,divergence=js),infonce``.

    Raises:
        ValueError: none at all, one that cannot be understood, or one given twice.
    """
    arms = [_parse_arm(part) for text in texts for part in _split(text)]
    if not arms:
        raise ValueError("no objective is named: give some, such as relic,infonce,augment,none")
    for kind in ("label", "folder"):
        names = [getattr(arm, kind) for arm in arms]
        if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            raise ValueError(f"objective {twice[0]} is given twice, or two files go by that name: keep or rename one")
    return arms


def _parse_arm(text: str) -> Arm:
    match = _ARM.fullmatch(text)
    pairs = []
    for item in _split(match["options"] or "") if match else []:
        name, equals, value = (part.strip() for part in item.partition("="))
        if not (name and equals and value):
            match = None
            break
        pairs.append((name.replace("-", "_"), value))
    if match is None:
        raise ValueError(
            f"cannot understand objective {text[:60]!r}: write it like relic or relic(alpha=2,divergence=js)"
        )
    return Arm(match["objective"], tuple(sorted(dict(pairs).items())))


def _split(text: str) -> list[str]:
    """The parts between commas that are in no parentheses, stripped; empty ones are left out."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [stripped for part in parts if (stripped := part.strip())]


SAME_OVER_TWO_VIEWS = MappingProxyType({"reverse_kl": "kl", "symmetric_kl": "kl", "renyi(2)": "chi2"})
"""Penalties that are one number where every ordered pair of interventions counts; chi2 is Renyi's of order 2."""


def effective_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's options come to, those that name the same thing in two ways brought to one.

    Two arms for which this is equal train the same agent: comparing them would compare noise. RELIC without its
    penalty is InfoNCE, an auxiliary loss of weight 0 is none, and over all ordered pairs of two views KL, its
    reverse and their mean are the same.

    Args:
        options: of ``train``, those that apply (as its config.yaml holds them), objective's names included.
    """
    effective = dict(options)
    if effective.get("aux_weight") == 0:
        without = {name for name in effective if name.startswith("aux_")} | {"augmentation"} | _CRITIC
        effective = {name: value for name, value in effective.items() if name not in without}
        effective["objective"] = "none"
    if effective["objective"] == "relic" and effective.get("alpha") == 0:
        effective["objective"] = "infonce"
        del effective["alpha"], effective["divergence"]
    if effective["objective"] == "relic":
        penalty = effective["divergence"]
        if match := re.fullmatch(r"renyi\((.*)\)", penalty):
            penalty = f"renyi({_number(match[1])})"
        effective["divergence"] = SAME_OVER_TWO_VIEWS.get(penalty, penalty)
    return effective


def _number(text: str) -> str:
    try:
        return f"{float(text):g}"
    except ValueError:
        return text


_CRITIC = {
    *("critic_layers", "hidden_dim", "projection_dim", "temperature", "learnable_temperature"),
    *("alpha", "divergence", "target", "target_decay"),
}


def equal_arms(options: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Pairs of arms that are equal by construction.

    Args:
        options: of each arm by its label, see `effective_options`.
    """
    effective = {label: effective_options(of_arm) for label, of_arm in options.items()}
    labels = list(options)
    return [(a, b) for i, a in enumerate(labels) for b in labels[i + 1 :] if effective[a] == effective[b]]
