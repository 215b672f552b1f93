"""Encoders, augmentation of frames, and the objectives that train one with the other."""
