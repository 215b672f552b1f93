"""Representation objectives behind one interface: encoder and augmented views in, loss and metrics out."""

from relic_rl.representation.objectives.amdim import AMDIMObjective
from relic_rl.representation.objectives.base import Objective, ObjectiveOutput
from relic_rl.representation.objectives.build import OBJECTIVE_OPTIONS, OBJECTIVES, build_objective
from relic_rl.representation.objectives.byol import BYOLObjective
from relic_rl.representation.objectives.curl import CURLObjective
from relic_rl.representation.objectives.relic import RelicObjective
from relic_rl.representation.objectives.simclr import SimCLRObjective

__all__ = [
    "OBJECTIVES",
    "OBJECTIVE_OPTIONS",
    "AMDIMObjective",
    "BYOLObjective",
    "CURLObjective",
    "Objective",
    "ObjectiveOutput",
    "RelicObjective",
    "SimCLRObjective",
    "build_objective",
]
