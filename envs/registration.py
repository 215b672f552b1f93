"""Makes the toys known to gymnasium: ``import envs.registration``, then ``gymnasium.make("relic/StyleShift-v0")``.

``gymnasium.make("envs.registration:relic/StyleShift-v0")`` does both in one. ``gymnasium.make_vec`` gives copies that
are stepped all at once. The project itself needs none of this: `envs.make.make_vector_env` knows the toys.
"""

from __future__ import annotations

import gymnasium

from envs.toy import TOYS

for _name in TOYS:
    gymnasium.register(
        _name,
        entry_point="envs.toy_gymnasium:ToyImages",
        vector_entry_point="envs.toy_gymnasium:ToyVector",
        kwargs={"toy": _name},
    )
