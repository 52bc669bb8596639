// Feature rows of quadruplets: invariants of three channel densities and their derivatives, in double precision.
//
// A channel k is a fixed combination of the densities, a_k,lm = sqrt(w_lm) sum_(s, n) V_k,sn A_lm,sn, with its mean over the
// training atoms of the centre's species taken off at l = 0. For every centre species, the columns are the invariants
//   for degree triples (couplings.h), for k1, k2, k3:   sum W a_k1,l1 a_k2,l2 a_k3,l3  -  the same of a single atom
// with k1 <= k2 where l1 == l2, and k2 <= k3 where l2 == l3.
#pragma once

#include <vector>

#include "basis.h"
#include "couplings.h"

namespace trepid {

class QuadrupletRows {
 public:
  // radial: [channel][species][n_radial]; centre: [species][channel].
  QuadrupletRows(int n_channels, int n_species, int n_radial, int l_max, std::vector<double> radial,
                 std::vector<double> centre)
      : k_(n_channels),
        ns_(n_species),
        nr_(n_radial),
        degree_(l_max < kQuadrupletDegree ? l_max : kQuadrupletDegree),
        radial_(std::move(radial)),
        centre_(std::move(centre)) {
    const int q = n_harmonics(degree_);
    root_.resize(q);
    harmonic_weights(degree_, root_.data());
    for (double& w : root_) w = std::sqrt(w);
    size_ = 0;
    each_product([this](const DegreeTriple&, int, int, int) { ++size_; });
    density_.resize(static_cast<size_t>(k_) * q);
    value_.resize(size_);
    slope_.resize(3 * static_cast<size_t>(size_) * kWidest);
    alone_.resize(static_cast<size_t>(ns_) * size_);
    for (int s = 0; s < ns_ && k_ > 0; ++s) {
      start(s);
      invariants(false);
      for (int f = 0; f < size_; ++f) alone_[static_cast<size_t>(s) * size_ + f] = value_[f];
    }
  }

  int n_channels() const { return k_; }
  int size() const { return size_; }  // invariants of one centre species

  void start(int centre_species) {
    density_.assign(density_.size(), 0.0);
    for (int k = 0; k < k_; ++k) density_[static_cast<size_t>(k) * n_harmonics(degree_)] = -centre_[centre_species * k_ + k];
  }

  // A neighbour of one species with four splines from `first` on and its harmonics.
  void add(int species, int first, const double value[4], const double* harmonic) {
    const int q_size = n_harmonics(degree_);
    for (int k = 0; k < k_; ++k) {
      const double r = along(k, species, first, value);
      double* a = density_.data() + static_cast<size_t>(k) * q_size;
      for (int q = 0; q < q_size; ++q) a[q] += r * root_[q] * harmonic[q];
    }
  }

  // Values, and their derivatives with respect to the densities if asked for.
  void invariants(bool with_slopes) {
    const int q_size = n_harmonics(degree_);
    int f = 0;
    each_product([&](const DegreeTriple& t, int k1, int k2, int k3) {
      const double *a1 = density_.data() + static_cast<size_t>(k1) * q_size,
                   *a2 = density_.data() + static_cast<size_t>(k2) * q_size,
                   *a3 = density_.data() + static_cast<size_t>(k3) * q_size;
      double* g = slope_.data() + 3 * static_cast<size_t>(f) * kWidest;
      double total = 0;
      if (with_slopes)
        for (int c = 0; c < 3 * kWidest; ++c) g[c] = 0;
      for (int u = t.first_group; u < t.first_group + t.n_groups; ++u) {
        const CouplingGroup& group = kCouplingGroup[u];
        double product = 0;
        for (int c = group.first; c < group.first + group.n; ++c) {
          const Coupling& w = kCoupling[c];
          product += w.weight * a1[w.q1] * a2[w.q2];
          if (with_slopes) {
            g[w.q1 - t.l1 * t.l1] += w.weight * a2[w.q2] * a3[group.q3];
            g[kWidest + w.q2 - t.l2 * t.l2] += w.weight * a1[w.q1] * a3[group.q3];
          }
        }
        total += product * a3[group.q3];
        if (with_slopes) g[2 * kWidest + group.q3 - t.l3 * t.l3] += product;
      }
      value_[f++] = total;
    });
  }

  // Value of invariant f beyond that of a single atom.
  double value(int f, int centre_species) const { return value_[f] - alone_[static_cast<size_t>(centre_species) * size_ + f]; }

  // Calls add(f, g) with g = d(invariant f) / d d_ij for a neighbour.
  template <class Add>
  void gradients(int species, int first, const double value[4], const double slope[4], const double n[3], double r,
                 const double* harmonic, const double* harmonic_gradient, Add add) {
    const int q_size = n_harmonics(degree_);
    moved_.resize(3 * static_cast<size_t>(k_) * q_size);
    for (int k = 0; k < k_; ++k) {
      const double v = along(k, species, first, value), dv = along(k, species, first, slope);
      for (int q = 0; q < q_size; ++q) {
        const double* dy = harmonic_gradient + 3 * q;
        const double radial = dy[0] * n[0] + dy[1] * n[1] + dy[2] * n[2];
        for (int x = 0; x < 3; ++x)
          moved_[3 * (static_cast<size_t>(k) * q_size + q) + x] =
              root_[q] * (dv * harmonic[q] * n[x] + v * (dy[x] - radial * n[x]) / r);
      }
    }
    int f = 0;
    each_product([&](const DegreeTriple& t, int k1, int k2, int k3) {
      const int channel[3] = {k1, k2, k3}, degree[3] = {t.l1, t.l2, t.l3};
      const double* slopes = slope_.data() + 3 * static_cast<size_t>(f) * kWidest;
      double g[3] = {0, 0, 0};
      for (int factor = 0; factor < 3; ++factor) {
        const int l = degree[factor];
        const double* move = moved_.data() + 3 * (static_cast<size_t>(channel[factor]) * q_size + l * l);
        const double* s = slopes + factor * kWidest;
        for (int m = 0; m < 2 * l + 1; ++m)
          for (int x = 0; x < 3; ++x) g[x] += s[m] * move[3 * m + x];
      }
      add(f++, g);
    });
  }

 private:
  static constexpr int kWidest = 2 * kQuadrupletDegree + 1;

  template <class Each>
  void each_product(Each each) {
    for (const DegreeTriple& t : kDegreeTriple) {
      if (t.l3 > degree_) continue;
      for (int k1 = 0; k1 < k_; ++k1)
        for (int k2 = t.l1 == t.l2 ? k1 : 0; k2 < k_; ++k2)
          for (int k3 = t.l2 == t.l3 ? k2 : 0; k3 < k_; ++k3) each(t, k1, k2, k3);
    }
  }
  double along(int k, int species, int first, const double four[4]) const {
    const double* v = radial_.data() + (static_cast<size_t>(k) * ns_ + species) * nr_;
    double sum = 0;
    for (int a = 0; a < 4 && first + a < nr_; ++a) sum += v[first + a] * four[a];
    return sum;
  }

  int k_, ns_, nr_, degree_, size_ = 0;
  std::vector<double> radial_, centre_, root_, density_, value_, slope_, moved_, alone_;
};

}  // namespace trepid
