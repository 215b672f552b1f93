"""Packages, dependencies, extras and the console script. Tool settings live in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="relic_rl",
    version="0.1.0",
    description="R2D2 and PPO agents whose convolutional encoder is shared with a RELIC auxiliary head",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    # The presets in configs/ ship inside the package, so a plain install finds them too.
    packages=[*find_packages(include=["relic_rl*", "envs*", "agents*"]), "relic_rl.configs"],
    package_dir={"relic_rl.configs": "configs"},
    package_data={
        "relic_rl": ["py.typed"],
        "envs": ["*.csv", "*.json", "py.typed"],
        "relic_rl.images": ["*.json"],
        "agents": ["py.typed"],
        "relic_rl.configs": ["*/*.yaml"],
    },
    install_requires=[
        "torch>=2.11,<2.14",
        "numpy>=2.0",
        "gymnasium>=1.1,<2",
        "ale-py>=0.11,<0.13",
        # envpool ships Linux wheels only; elsewhere --engine ale does the same work.
        'envpool>=1.1,<2; sys_platform == "linux"',
        "tensorboard>=2.18",
        "tyro>=0.9,<2",
        "PyYAML>=6",
        "rich>=13",
        "matplotlib>=3.9",
        "safetensors>=0.5",
        "imageio-ffmpeg>=0.5",
        "kornia>=0.8.1,<0.10",
        "Pillow>=10",
        "scipy>=1.13",
    ],
    extras_require={
        "ray": ["ray>=2.40"],
        "test": [
            "pytest>=8",
            "pytest-timeout>=2.3",
            "hypothesis>=6.100",
            "scikit-learn>=1.5",
            # rliable 1.2 needs these bounds and does not say so.
            "rliable>=1.2",
            "pandas<3",
            "arch<8",
            "ruff>=0.9",
            "mypy>=1.14",
            "types-PyYAML",
        ],
    },
    entry_points={"console_scripts": ["relic-rl = relic_rl.cli:main"]},
)
