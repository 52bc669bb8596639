"""Independent checks of the fast models.

`ExactGP` is the Gaussian process behind the Bayesian force field, in function space, without splines and without the C++
core: the kernels of pairs and triplets are evaluated between the terms of all frames. It takes memory and time that grow
with the square and the cube of the number of labels, so it is for small sets. What the fast model gives tends to it as the
basis grows.
"""

from __future__ import annotations

from trepid.testing.exact_gp import ExactGP

__all__ = ["ExactGP"]
