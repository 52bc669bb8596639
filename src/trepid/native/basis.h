// Radial splines and angular functions, in scalar double precision: used where clarity counts (feature rows), and the
// definition that the vectorised kernel follows.
#pragma once

#include <cmath>

#include "model.h"

namespace trepid {

// The four non-zero cubic B-splines of a uniform grid at u in [0, 1) of a cell, and their derivatives with respect to
// u.
inline void bspline(double u, double value[4], double slope[4]) {
  const double v = 1 - u;
  value[0] = v * v * v / 6;
  value[1] = (3 * u * u * u - 6 * u * u + 4) / 6;
  value[2] = (3 * v * v * v - 6 * v * v + 4) / 6;
  value[3] = u * u * u / 6;
  slope[0] = -v * v / 2;
  slope[1] = (3 * u * u - 4 * u) / 2;
  slope[2] = -(3 * v * v - 4 * v) / 2;
  slope[3] = u * u / 2;
}

// Splines of a grid of n_splines cells between r_min and cutoff, at r < cutoff: values, d/dr and the index of the
// first.
inline int radial_splines(double r, double r_min, double cutoff, int n_splines, double value[4], double slope[4]) {
  const double inverse_step = n_splines / (cutoff - r_min);
  const double t = (r - r_min) * inverse_step;
  int cell = static_cast<int>(t);
  if (t < 0) cell = 0;
  if (cell > n_splines - 1) cell = n_splines - 1;
  const double inside = t > 0 ? t : 0;
  bspline(inside - cell, value, slope);
  for (int a = 0; a < 4; ++a) {
    value[a] += (t - inside) * slope[a];  // straight continuation below r_min
    slope[a] *= inverse_step;
  }
  return cell;
}

inline constexpr int n_harmonics(int l_max) {
  return (l_max + 1) * (l_max + 1);
}

// w_lm of the addition theorem, [n_harmonics]; index l^2 for m = 0, l^2 + 2 m - 1 for the cosine, l^2 + 2 m for the
// sine.
inline void harmonic_weights(int l_max, double* weight) {
  for (int l = 0; l <= l_max; ++l) {
    weight[l * l] = 1;
    double ratio = 1;  // (l - m)! / (l + m)!
    for (int m = 1; m <= l; ++m) {
      ratio /= static_cast<double>(l + m) * (l - m + 1);
      weight[l * l + 2 * m - 1] = weight[l * l + 2 * m] = 2 * ratio;
    }
  }
}

// Y_lm at the unit vector n, and the gradient of the same polynomials in x, y, z (not yet projected on the sphere).
inline void harmonics(int l_max, const double n[3], double* y, double (*gradient)[3]) {
  constexpr int size = kMaxDegree + 2;
  double p[size][size] = {};  // p[l][m] = d^m P_l / dz^m
  double c[size] = {1}, s[size] = {0};
  for (int m = 1; m <= l_max; ++m) {
    c[m] = n[0] * c[m - 1] - n[1] * s[m - 1];
    s[m] = n[0] * s[m - 1] + n[1] * c[m - 1];
  }
  double diagonal = 1;
  for (int m = 0; m <= l_max; ++m) {
    if (m > 0) diagonal *= 2 * m - 1;
    p[m][m] = diagonal;
    if (m < l_max) p[m + 1][m] = (2 * m + 1) * n[2] * diagonal;
    for (int l = m + 2; l <= l_max; ++l)
      p[l][m] = ((2 * l - 1) * n[2] * p[l - 1][m] - (l + m - 1) * p[l - 2][m]) / (l - m);
  }
  for (int l = 0; l <= l_max; ++l) {
    y[l * l] = p[l][0];
    gradient[l * l][0] = gradient[l * l][1] = 0;
    gradient[l * l][2] = p[l][1];
    for (int m = 1; m <= l; ++m) {
      const int even = l * l + 2 * m - 1, odd = l * l + 2 * m;
      y[even] = p[l][m] * c[m];
      y[odd] = p[l][m] * s[m];
      gradient[even][0] = m * p[l][m] * c[m - 1];
      gradient[even][1] = -m * p[l][m] * s[m - 1];
      gradient[even][2] = p[l][m + 1] * c[m];
      gradient[odd][0] = m * p[l][m] * s[m - 1];
      gradient[odd][1] = m * p[l][m] * c[m - 1];
      gradient[odd][2] = p[l][m + 1] * s[m];
    }
  }
}

}  // namespace trepid
