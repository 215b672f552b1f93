"""What every door shares: options, run directories, checkpoints, metrics, precision, seeds.

Import from the modules. Those that a command's ``--help`` touches (``config``, ``errors``, ``resume``)
import neither torch nor an engine.
"""
