// Weighted mean over the neighbours of an atom: with it the error bar of an atom takes a share of those around it
// (potentials/bayesian/neighbour_share.py says why).
#pragma once

#include <cmath>

#include "model.h"

namespace trepid {

// In quadrature, the standard deviation of a force component gets this times the weighted mean around the atom.
constexpr double kNeighbourShare = 0.5;

// means[c] = sum_j w_j values[j] / sum_j w_j for the centres [begin, end), w_j = (1 - r_j / range)^2 inside the range; 0
// without neighbours there. `values` has one entry for every row that `system.target` names; without targets one for
// every atom and ghost.
inline void nearby_mean(const System& system, int begin, int end, const double* values, double range, double* means) {
  for (int c = begin; c < end; ++c) {
    const int i = system.centres ? system.centres[c] : c;
    const double* x = system.positions + 3 * static_cast<long>(i);
    double sum = 0, weights = 0;
    for (int k = 0; k < system.n_neighbours[i]; ++k) {
      const int j = system.neighbours[i][k] & system.neighbour_mask;
      const double* y = system.positions + 3 * static_cast<long>(j);
      const double dx = y[0] - x[0], dy = y[1] - x[1], dz = y[2] - x[2];
      const double r2 = dx * dx + dy * dy + dz * dz;
      if (r2 >= range * range) continue;
      const double inside = 1 - std::sqrt(r2) / range, w = inside * inside;
      sum += w * values[system.target ? system.target[j] : j];
      weights += w;
    }
    means[i] = weights > 0 ? sum / weights : 0.0;
  }
}

}  // namespace trepid
