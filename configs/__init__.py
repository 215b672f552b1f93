"""Presets, shipped as package data."""
