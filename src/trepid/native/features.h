// Feature rows: the derivative of every label with respect to every raw coefficient, in double precision.
//
// Layout of the raw coefficients (mirrored by trepid.potentials.bayesian.terms):
//   offsets   [species]
//   pairs     for species a <= b: [n_pair]
//   triplets  for each centre, for neighbour species a <= b: [l_max + 1][p], where p counts (n, n') with n <= n' if a
//   == b,
//             and all (n, n') if a < b. A coefficient stands for both C_(an)(bn') and C_(bn')(an).
//             With mixed triplets instead, for each centre: the products of mixed_triplet_rows.h
//   quadruplets  for each centre: the invariants of quadruplet_rows.h
#pragma once

#include <vector>

#include "basis.h"
#include "mixed_triplet_rows.h"
#include "quadruplet_rows.h"

namespace trepid {

class FeatureRows {
 public:
  FeatureRows(int n_species, int n_pair, int n_radial, int l_max, double r_min, double pair_cutoff,
              double triplet_cutoff, int n_triplet_channels, std::vector<double> triplet_channel_radial, int n_channels,
              std::vector<double> channel_radial, std::vector<double> channel_centre)
      : ns_(n_species),
        n2_(n_pair),
        k_(n_radial),
        l_max_(l_max),
        r_min_(r_min),
        rc2_(pair_cutoff),
        rc3_(triplet_cutoff),
        mixed_(n_triplet_channels, n_species, n_radial, l_max, std::move(triplet_channel_radial)),
        quadruplets_(n_channels, n_species, n_radial, l_max, std::move(channel_radial), channel_centre) {
    weight_.resize(n_harmonics(l_max));
    harmonic_weights(l_max, weight_.data());
    pair_offset_.resize(ns_ * ns_);
    triplet_offset_.resize(ns_ * ns_ * ns_);
    int next = ns_;
    for (int a = 0; a < ns_; ++a)
      for (int b = a; b < ns_; ++b) {
        pair_offset_[a * ns_ + b] = pair_offset_[b * ns_ + a] = next;
        next += n2_;
      }
    mixed_offset_ = next;
    for (int c = 0; c < ns_ && !is_mixed(); ++c)
      for (int a = 0; a < ns_; ++a)
        for (int b = a; b < ns_; ++b) {
          triplet_offset_[(c * ns_ + a) * ns_ + b] = triplet_offset_[(c * ns_ + b) * ns_ + a] = next;
          next += (l_max_ + 1) * n_products(a, b);
        }
    if (is_mixed()) next += ns_ * mixed_.size();
    quadruplet_offset_ = next;
    size_ = next + ns_ * quadruplets_.size();
    const int q = n_harmonics(l_max_);
    density_.resize(static_cast<size_t>(ns_) * k_ * q);
    gradient_.resize(3 * static_cast<size_t>(q));
  }

  int size() const { return size_; }

  // Adds to energy[size], forces[n_rows][3][size] (-dE/dx of the target rows; rows below zero are skipped) and
  // strain[6][size] (dE/dstrain). Any of them may be nullptr.
  void add(const System& system, int n_centres, double* energy, double* forces, double* strain) {
    for (int i = 0; i < n_centres; ++i) centre(system, i, energy, forces, strain);
  }

 private:
  struct Neighbour {
    int index, species, first;
    double d[3], n[3], r, value[4], slope[4];
  };

  bool is_mixed() const { return mixed_.n_channels() > 0; }
  int n_products(int a, int b) const { return a == b ? k_ * (k_ + 1) / 2 : k_ * k_; }

  // Index of the coefficient of channels (a, n), (b, m) at l = 0 and the stride between successive l.
  int product(int centre, int a, int n, int b, int m, int* stride) const {
    if (a > b || (a == b && n > m)) {
      int t = a;
      a = b;
      b = t;
      t = n;
      n = m;
      m = t;
    }
    *stride = n_products(a, b);
    const int p = a == b ? n * k_ - n * (n - 1) / 2 + (m - n) : n * k_ + m;
    return triplet_offset_[(centre * ns_ + a) * ns_ + b] + p;
  }

  // One coefficient's gradient g = d e_i / d d_ij goes to the rows of i (+) and j (-) and to the strain.
  void scatter(int column, const double g[3], const double d[3], int row_i, int row_j, double* forces,
               double* strain) const {
    if (forces) {
      for (int x = 0; x < 3; ++x) {
        if (row_i >= 0) forces[(static_cast<size_t>(row_i) * 3 + x) * size_ + column] += g[x];
        if (row_j >= 0) forces[(static_cast<size_t>(row_j) * 3 + x) * size_ + column] -= g[x];
      }
    }
    if (strain) {
      static constexpr int first[6] = {0, 1, 2, 1, 0, 0}, second[6] = {0, 1, 2, 2, 2, 1};
      for (int v = 0; v < 6; ++v)
        strain[static_cast<size_t>(v) * size_ + column] +=
            0.5 * (g[first[v]] * d[second[v]] + g[second[v]] * d[first[v]]);
    }
  }

  // The same for n coefficients from `column` on, with gradients g [x][n].
  void scatter(int column, int n, const double* g, const double d[3], int row_i, int row_j, double* forces,
               double* strain) const {
    for (int x = 0; forces && x < 3; ++x) {
      const double* gx = g + static_cast<size_t>(x) * n;
      if (row_i >= 0) {
        double* to = forces + (static_cast<size_t>(row_i) * 3 + x) * size_ + column;
        for (int f = 0; f < n; ++f) to[f] += gx[f];
      }
      if (row_j >= 0) {
        double* to = forces + (static_cast<size_t>(row_j) * 3 + x) * size_ + column;
        for (int f = 0; f < n; ++f) to[f] -= gx[f];
      }
    }
    static constexpr int first[6] = {0, 1, 2, 1, 0, 0}, second[6] = {0, 1, 2, 2, 2, 1};
    for (int v = 0; strain && v < 6; ++v) {
      const double *ga = g + static_cast<size_t>(first[v]) * n, *gb = g + static_cast<size_t>(second[v]) * n;
      const double da = 0.5 * d[first[v]], db = 0.5 * d[second[v]];
      double* to = strain + static_cast<size_t>(v) * size_ + column;
      for (int f = 0; f < n; ++f) to[f] += ga[f] * db + gb[f] * da;
    }
  }

  static bool reaches_a_row(const System& system, int i) {
    if (system.target[i] >= 0) return true;
    for (int k = 0; k < system.n_neighbours[i]; ++k)
      if (system.target[system.neighbours[i][k]] >= 0) return true;
    return false;
  }

  void centre(const System& system, int i, double* energy, double* forces, double* strain) {
    const int si = system.species[i], q_size = n_harmonics(l_max_);
    const int row_i = system.target[i];
    if (energy) energy[si] += 1;
    if (!energy && !strain && !reaches_a_row(system, i)) return;
    neighbours_.clear();
    density_.assign(density_.size(), 0.0);
    harmonic_.clear();
    harmonic_gradient_.clear();
    for (int k = 0; k < system.n_neighbours[i]; ++k) {
      Neighbour nb;
      nb.index = system.neighbours[i][k];
      double r2 = 0;
      for (int x = 0; x < 3; ++x) {
        nb.d[x] = system.positions[3 * nb.index + x] - system.positions[3 * i + x];
        r2 += nb.d[x] * nb.d[x];
      }
      nb.r = std::sqrt(r2);
      nb.species = system.species[nb.index];
      for (int x = 0; x < 3; ++x) nb.n[x] = nb.d[x] / nb.r;
      if (nb.r < rc2_) add_pair(nb, si, row_i, system.target[nb.index], energy, forces, strain);
      if (nb.r < rc3_) add_density(nb, q_size);
    }
    if (neighbours_.empty()) return;
    if (quadruplets_.n_channels() > 0) add_quadruplets(si, row_i, system, q_size, energy, forces, strain);
    if (is_mixed()) {
      add_mixed(si, row_i, system, q_size, energy, forces, strain);
      return;
    }
    if (energy) add_products(si, q_size, energy);
    if (forces || strain)
      for (size_t k = 0; k < neighbours_.size(); ++k)
        add_product_gradients(k, si, row_i, system.target[neighbours_[k].index], q_size, forces, strain);
  }

  void add_pair(const Neighbour& nb, int si, int row_i, int row_j, double* energy, double* forces,
                double* strain) const {
    double value[4], slope[4];
    const int first = radial_splines(nb.r, r_min_, rc2_, n2_, value, slope),
              offset = pair_offset_[si * ns_ + nb.species];
    for (int a = 0; a < 4 && first + a < n2_; ++a) {
      if (energy) energy[offset + first + a] += 0.5 * value[a];
      const double g[3] = {0.5 * slope[a] * nb.n[0], 0.5 * slope[a] * nb.n[1], 0.5 * slope[a] * nb.n[2]};
      scatter(offset + first + a, g, nb.d, row_i, row_j, forces, strain);
    }
  }

  void add_density(Neighbour& nb, int q_size) {
    nb.first = radial_splines(nb.r, r_min_, rc3_, k_, nb.value, nb.slope);
    const size_t at = harmonic_.size();
    harmonic_.resize(at + q_size);
    harmonic_gradient_.resize(3 * (at + q_size));
    harmonics(l_max_, nb.n, harmonic_.data() + at, reinterpret_cast<double (*)[3]>(harmonic_gradient_.data() + 3 * at));
    for (int a = 0; a < 4 && nb.first + a < k_; ++a) {
      double* density = density_.data() + (static_cast<size_t>(nb.species) * k_ + nb.first + a) * q_size;
      for (int q = 0; q < q_size; ++q) density[q] += nb.value[a] * harmonic_[at + q];
    }
    neighbours_.push_back(nb);
  }

  void add_products(int si, int q_size, double* energy) const {
    for (int a = 0; a < ns_ * k_; ++a)
      for (int b = a; b < ns_ * k_; ++b) {
        int stride;
        const int column = product(si, a / k_, a % k_, b / k_, b % k_, &stride);
        const double *da = density_.data() + static_cast<size_t>(a) * q_size,
                     *db = density_.data() + static_cast<size_t>(b) * q_size;
        for (int l = 0; l <= l_max_; ++l) {
          double sum = 0;
          for (int q = l * l; q < (l + 1) * (l + 1); ++q) sum += weight_[q] * da[q] * db[q];
          energy[column + l * stride] += (a == b ? 1 : 2) * sum;
        }
      }
  }

  void add_mixed(int si, int row_i, const System& system, int q_size, double* energy, double* forces, double* strain) {
    const int offset = mixed_offset_ + si * mixed_.size();
    mixed_.start();
    for (size_t k = 0; k < neighbours_.size(); ++k) {
      const Neighbour& nb = neighbours_[k];
      mixed_.add(nb.species, nb.first, nb.value, harmonic_.data() + k * q_size);
    }
    mixed_.close();
    if (energy) mixed_.add_values(energy + offset);
    if (!forces && !strain) return;
    for (size_t k = 0; k < neighbours_.size(); ++k) {
      const Neighbour& nb = neighbours_[k];
      const int row_j = system.target[nb.index];
      if (!strain && row_i < 0 && row_j < 0) continue;
      const double* g = mixed_.gradients(nb.species, nb.first, nb.value, nb.slope, nb.n, nb.r,
                                         harmonic_.data() + k * q_size, harmonic_gradient_.data() + 3 * k * q_size);
      scatter(offset, mixed_.size(), g, nb.d, row_i, row_j, forces, strain);
    }
  }

  void add_quadruplets(int si, int row_i, const System& system, int q_size, double* energy, double* forces,
                       double* strain) {
    const int offset = quadruplet_offset_ + si * quadruplets_.size();
    quadruplets_.start(si);
    for (size_t k = 0; k < neighbours_.size(); ++k) {
      const Neighbour& nb = neighbours_[k];
      quadruplets_.add(nb.species, nb.first, nb.value, harmonic_.data() + k * q_size);
    }
    quadruplets_.invariants(forces || strain);
    if (energy)
      for (int f = 0; f < quadruplets_.size(); ++f) energy[offset + f] += quadruplets_.value(f, si);
    if (!forces && !strain) return;
    for (size_t k = 0; k < neighbours_.size(); ++k) {
      const Neighbour& nb = neighbours_[k];
      const int row_j = system.target[nb.index];
      if (!strain && row_i < 0 && row_j < 0) continue;
      quadruplets_.gradients(nb.species, nb.first, nb.value, nb.slope, nb.n, nb.r, harmonic_.data() + k * q_size,
                             harmonic_gradient_.data() + 3 * k * q_size, [&](int f, const double g[3]) {
                               scatter(offset + f, g, nb.d, row_i, row_j, forces, strain);
                             });
    }
  }

  void add_product_gradients(size_t k, int si, int row_i, int row_j, int q_size, double* forces, double* strain) {
    const Neighbour& nb = neighbours_[k];
    const double* y = harmonic_.data() + k * q_size;
    const double* dy = harmonic_gradient_.data() + 3 * k * q_size;
    for (int s = 0; s < 4 && nb.first + s < k_; ++s) {
      const int n = nb.first + s;
      for (int q = 0; q < q_size; ++q) {  // gradient of the density of channel (species j, n) with respect to d_ij
        const double along = dy[3 * q] * nb.n[0] + dy[3 * q + 1] * nb.n[1] + dy[3 * q + 2] * nb.n[2];
        for (int x = 0; x < 3; ++x)
          gradient_[x * static_cast<size_t>(q_size) + q] =
              2 * weight_[q] * (nb.slope[s] * y[q] * nb.n[x] + nb.value[s] * (dy[3 * q + x] - along * nb.n[x]) / nb.r);
      }
      for (int b = 0; b < ns_ * k_; ++b) {
        int stride;
        const int column = product(si, nb.species, n, b / k_, b % k_, &stride);
        const double* density = density_.data() + static_cast<size_t>(b) * q_size;
        for (int l = 0; l <= l_max_; ++l) {
          double g[3] = {0, 0, 0};
          for (int x = 0; x < 3; ++x) {
            const double* gradient = gradient_.data() + x * static_cast<size_t>(q_size);
            for (int q = l * l; q < (l + 1) * (l + 1); ++q) g[x] += gradient[q] * density[q];
          }
          scatter(column + l * stride, g, nb.d, row_i, row_j, forces, strain);
        }
      }
    }
  }

  int ns_, n2_, k_, l_max_, size_, mixed_offset_, quadruplet_offset_;
  double r_min_, rc2_, rc3_;
  std::vector<double> weight_;
  std::vector<int> pair_offset_, triplet_offset_;
  std::vector<double> density_, gradient_, harmonic_, harmonic_gradient_;
  std::vector<Neighbour> neighbours_;
  MixedTripletRows mixed_;
  QuadrupletRows quadruplets_;
};

}  // namespace trepid
