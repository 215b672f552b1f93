"""Convolutional encoders: images in, features out."""

from relic_rl.representation.encoders.base import Encoder
from relic_rl.representation.encoders.build import ENCODERS, build_encoder
from relic_rl.representation.encoders.impala import ImpalaEncoder
from relic_rl.representation.encoders.nature import NatureEncoder
from relic_rl.representation.encoders.resnet import ResNet18Encoder, ResNet50Encoder, ResNetEncoder

__all__ = [
    "ENCODERS",
    "Encoder",
    "ImpalaEncoder",
    "NatureEncoder",
    "ResNet18Encoder",
    "ResNet50Encoder",
    "ResNetEncoder",
    "build_encoder",
]
