"""Image data: class folders in ImageNet's layout, frames of Atari games, generated content/style images."""
