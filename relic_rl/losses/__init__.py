"""The losses: RELIC, InfoNCE, NT-Xent, BYOL, CURL, AMDIM and the divergences, pure functions of tensors."""

from relic_rl.losses.amdim import amdim_nce_loss
from relic_rl.losses.byol import byol_loss
from relic_rl.losses.candidates import sample_negatives
from relic_rl.losses.contrastive import nt_xent_loss
from relic_rl.losses.curl import curl_loss
from relic_rl.losses.divergences import divergence_by_name
from relic_rl.losses.relic import RelicOutput, info_nce_loss, relic_loss

__all__ = [
    "RelicOutput",
    "amdim_nce_loss",
    "byol_loss",
    "curl_loss",
    "divergence_by_name",
    "info_nce_loss",
    "nt_xent_loss",
    "relic_loss",
    "sample_negatives",
]
