// Channel densities of one centre for feature rows, and their derivatives, in double precision.
//
// A channel k is a fixed combination of the densities of all species, a_k,lm = sqrt(w_lm) sum_(s, n) V_k,sn A_lm,sn. The
// invariants of mixed triplets (mixed_triplet_rows.h) and of quadruplets (quadruplet_rows.h) are polynomials in a.
#pragma once

#include <vector>

#include "basis.h"

namespace trepid {

class ChannelRows {
 public:
  // radial: V [channel][species][n_radial].
  ChannelRows(int n_channels, int n_species, int n_radial, int degree, std::vector<double> radial)
      : k_(n_channels), ns_(n_species), nr_(n_radial), q_(n_harmonics(degree)), radial_(std::move(radial)) {
    root_.resize(q_);
    harmonic_weights(degree, root_.data());
    for (double& w : root_) w = std::sqrt(w);
    density_.resize(static_cast<size_t>(k_) * q_);
    moved_.resize(3 * static_cast<size_t>(k_) * q_);
  }

  int n_channels() const { return k_; }
  int n_harmonics_of_channel() const { return q_; }

  // Densities of an atom without neighbours: zero, but for `first` [channel] at l = 0 (nullptr: zero there too).
  void start(const double* first) {
    density_.assign(density_.size(), 0.0);
    for (int k = 0; first && k < k_; ++k) density_[static_cast<size_t>(k) * q_] = first[k];
  }

  // A neighbour of one species with four splines from `first` on and its harmonics.
  void add(int species, int first, const double value[4], const double* harmonic) {
    for (int k = 0; k < k_; ++k) {
      const double r = along(k, species, first, value);
      double* a = density_.data() + static_cast<size_t>(k) * q_;
      for (int q = 0; q < q_; ++q) a[q] += r * root_[q] * harmonic[q];
    }
  }

  // a_k, [harmonic].
  const double* density(int k) const { return density_.data() + static_cast<size_t>(k) * q_; }

  // Derivatives of all densities with respect to the vector d to one neighbour, at unit vector n and distance r.
  void move(int species, int first, const double value[4], const double slope[4], const double n[3], double r,
            const double* harmonic, const double* harmonic_gradient) {
    for (int k = 0; k < k_; ++k) {
      const double v = along(k, species, first, value), dv = along(k, species, first, slope);
      for (int q = 0; q < q_; ++q) {
        const double* dy = harmonic_gradient + 3 * q;
        const double radial = dy[0] * n[0] + dy[1] * n[1] + dy[2] * n[2];
        for (int x = 0; x < 3; ++x)
          moved_[3 * (static_cast<size_t>(k) * q_ + q) + x] =
              root_[q] * (dv * harmonic[q] * n[x] + v * (dy[x] - radial * n[x]) / r);
      }
    }
  }

  // What `move` found, [harmonic][x].
  const double* moved(int k) const { return moved_.data() + 3 * static_cast<size_t>(k) * q_; }

 private:
  double along(int k, int species, int first, const double four[4]) const {
    const double* v = radial_.data() + (static_cast<size_t>(k) * ns_ + species) * nr_;
    double sum = 0;
    for (int a = 0; a < 4 && first + a < nr_; ++a) sum += v[first + a] * four[a];
    return sum;
  }

  int k_, ns_, nr_, q_;
  std::vector<double> radial_, root_, density_, moved_;
};

}  // namespace trepid
