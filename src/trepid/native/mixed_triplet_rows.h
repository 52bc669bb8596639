// Feature rows of mixed triplets: products of two channel densities and their derivatives, in double precision.
//
// For every centre species, the columns are, for l, for k <= k':   sum_m a_k,lm a_k',lm   with a of channel_rows.h.
#pragma once

#include <vector>

#include "channel_rows.h"

namespace trepid {

class MixedTripletRows {
 public:
  // radial: [channel][species][n_radial].
  MixedTripletRows(int n_channels, int n_species, int n_radial, int l_max, std::vector<double> radial)
      : k_(n_channels),
        l_max_(l_max),
        per_degree_(n_channels * (n_channels + 1) / 2),
        channels_(n_channels, n_species, n_radial, l_max, std::move(radial)) {
    gradient_.resize(3 * static_cast<size_t>(size()));
    along_.resize(static_cast<size_t>(k_) * k_);
    density_of_harmonic_.resize(static_cast<size_t>(n_harmonics(l_max)) * k_);
  }

  int n_channels() const { return k_; }
  int size() const { return (l_max_ + 1) * per_degree_; }  // products of one centre species

  void start() { channels_.start(nullptr); }
  void add(int species, int first, const double value[4], const double* harmonic) {
    channels_.add(species, first, value, harmonic);
  }
  // To be called when all neighbours are added.
  void close() {
    const int q_size = channels_.n_harmonics_of_channel();
    for (int q = 0; q < q_size; ++q)
      for (int k = 0; k < k_; ++k) density_of_harmonic_[static_cast<size_t>(q) * k_ + k] = channels_.density(k)[q];
  }

  // Adds the products to `to` [size].
  void add_values(double* to) const {
    for (int l = 0; l <= l_max_; ++l)
      for (int k = 0; k < k_; ++k)
        for (int k2 = k; k2 < k_; ++k2, ++to)
          for (int q = l * l; q < (l + 1) * (l + 1); ++q) *to += channels_.density(k)[q] * channels_.density(k2)[q];
  }

  // Derivatives of the products with respect to the vector to a neighbour, [x][size].
  const double* gradients(int species, int first, const double value[4], const double slope[4], const double n[3],
                          double r, const double* harmonic, const double* harmonic_gradient) {
    channels_.move(species, first, value, slope, n, r, harmonic, harmonic_gradient);
    for (int x = 0; x < 3; ++x) {
      double* g = gradient_.data() + static_cast<size_t>(x) * size();
      for (int l = 0; l <= l_max_; ++l) {
        along_.assign(along_.size(), 0.0);  // sum_m (d a_k) a_k'
        for (int k = 0; k < k_; ++k) {
          const double* moved = channels_.moved(k);
          double* row = along_.data() + static_cast<size_t>(k) * k_;
          for (int q = l * l; q < (l + 1) * (l + 1); ++q) {
            const double* a = density_of_harmonic_.data() + static_cast<size_t>(q) * k_;
            for (int k2 = 0; k2 < k_; ++k2) row[k2] += moved[3 * q + x] * a[k2];
          }
        }
        for (int k = 0; k < k_; ++k)
          for (int k2 = k; k2 < k_; ++k2)
            *g++ = along_[static_cast<size_t>(k) * k_ + k2] + along_[static_cast<size_t>(k2) * k_ + k];
      }
    }
    return gradient_.data();
  }

 private:
  int k_, l_max_, per_degree_;
  ChannelRows channels_;
  std::vector<double> gradient_, along_, density_of_harmonic_;
};

}  // namespace trepid
