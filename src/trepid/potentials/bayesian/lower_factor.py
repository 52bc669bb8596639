"""Cholesky factor of a large matrix, by LAPACK without the interpreter's lock.

The wrappers of SciPy keep the lock: while they factor a matrix of some thousand rows, no other thread runs, and the one
that answers Ctrl-C (`signals`) waits for many seconds. The same routines of the same library, called through `ctypes`,
release it. SciPy exports them in `scipy.linalg.cython_lapack`.
"""

from __future__ import annotations

import ctypes

import numpy as np
from scipy.linalg import LinAlgError, cython_lapack

from trepid.arrays import FloatArray

_CALLS = ctypes.pythonapi
_CALLS.PyCapsule_GetName.restype, _CALLS.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
_CALLS.PyCapsule_GetPointer.restype = ctypes.c_void_p
_CALLS.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


class _Routine:
    """One routine of LAPACK, called with str, int and float64 arrays in the order of its manual, without `info`."""

    def __init__(self, name: str) -> None:
        capsule = cython_lapack.__pyx_capi__[name]
        signature = _CALLS.PyCapsule_GetName(capsule)
        self.name, kinds = name, signature.decode().removeprefix("void (").removesuffix(")").split(", ")
        if not all(kind in ("char *", "int *") or kind.endswith("_d *") for kind in kinds):
            raise ImportError(f"scipy.linalg.cython_lapack.{name} has arguments not known here: {signature.decode()}")
        address = _CALLS.PyCapsule_GetPointer(capsule, signature)
        self._call = ctypes.CFUNCTYPE(None, *(len(kinds) * [ctypes.c_void_p]))(address)

    def __call__(self, *arguments: str | int | np.ndarray) -> int:
        """The number that the routine returns as `info`.

        Raises
        ------
        ValueError
            LAPACK calls an argument illegal.
        """
        info = ctypes.c_int(0)
        held: list[object] = []  # until the routine has returned
        pointers: list[int | None] = []
        for argument in arguments:
            if isinstance(argument, np.ndarray):
                pointers.append(argument.ctypes.data)
                continue
            value = ctypes.c_char(argument.encode()) if isinstance(argument, str) else ctypes.c_int(argument)
            held.append(value)
            pointers.append(ctypes.addressof(value))
        self._call(*pointers, ctypes.addressof(info))
        if info.value < 0:
            raise ValueError(f"LAPACK {self.name}: argument {-info.value} is illegal")
        return info.value


_potrf, _potri, _trtrs, _pocon = (_Routine(name) for name in ("dpotrf", "dpotri", "dtrtrs", "dpocon"))


class LowerFactor:
    """Lower triangular L with L L^T = A.

    Parameters
    ----------
    matrix : numpy.ndarray
        A (n, n), symmetric; its lower triangle is read.

    Raises
    ------
    scipy.linalg.LinAlgError
        A is not positive definite in double precision.
    """

    def __init__(self, matrix: FloatArray) -> None:
        self.matrix: FloatArray = np.array(matrix, dtype=float, order="F")
        """L (n, n), in the order of Fortran, with zeros above the diagonal."""
        n = len(self.matrix)
        column = _potrf("L", n, self.matrix, max(n, 1))
        if column:
            raise LinAlgError(f"the leading minor of order {column} is not positive definite")
        for k in range(1, n):
            self.matrix[:k, k] = 0.0

    def __len__(self) -> int:
        return len(self.matrix)

    def solve_lower(self, right: FloatArray, *, transposed: bool = False, overwrite: bool = False) -> FloatArray:
        """L^-1 B for B (n, m); L^-T B where `transposed`. With `overwrite` the result may take the place of B."""
        solved: FloatArray = np.array(right, dtype=float, order="F", copy=None if overwrite else True)
        n = len(self.matrix)
        if solved.size:
            _trtrs("L", "T" if transposed else "N", "N", n, solved.shape[1], self.matrix, n, solved, n)
        return solved

    def solve(self, right: FloatArray) -> FloatArray:
        """A^-1 b for a vector b (n,)."""
        return self.solve_lower(self.solve_lower(right[:, None]), transposed=True)[:, 0]

    def inverse(self) -> FloatArray:
        """The lower triangle of A^-1 (n, n), with zeros above the diagonal.

        Raises
        ------
        scipy.linalg.LinAlgError
            L has a zero on its diagonal.
        """
        inverse = self.matrix.copy(order="F")
        column = _potri("L", len(inverse), inverse, max(len(inverse), 1))
        if column:
            raise LinAlgError(f"element {column} of the diagonal of the factor is zero")
        return inverse

    def log_determinant(self) -> float:
        """Log det A."""
        return 2.0 * float(np.log(np.diagonal(self.matrix)).sum())

    def reciprocal_condition(self, norm: float) -> float:
        """Estimate of 1 / (|A| |A^-1|) in the 1-norm, where `norm` is |A|; 1 for an empty matrix."""
        n = len(self.matrix)
        if n == 0:
            return 1.0
        result = np.empty(1)
        work, counts = np.empty(3 * n), np.empty(n, dtype=np.intc)
        _pocon("L", n, self.matrix, n, np.array([norm]), result, work, counts)
        return float(result[0])
