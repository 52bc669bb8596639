// Feature rows of quadruplets: invariants of three channel densities and their derivatives, in double precision.
//
// From the channel densities of channel_rows.h the mean over the training atoms of the centre's species is taken off at
// l = 0. For every centre species, the columns are the invariants
//   for degree triples (couplings.h), for k1, k2, k3:   sum W a_k1,l1 a_k2,l2 a_k3,l3  -  the same of a single atom
// with k1 <= k2 where l1 == l2, and k2 <= k3 where l2 == l3.
#pragma once

#include <vector>

#include "channel_rows.h"
#include "couplings.h"

namespace trepid {

class QuadrupletRows {
 public:
  // radial: [channel][species][n_radial]; centre: [species][channel].
  QuadrupletRows(int n_channels, int n_species, int n_radial, int l_max, std::vector<double> radial,
                 const std::vector<double>& centre)
      : k_(n_channels),
        degree_(l_max < kQuadrupletDegree ? l_max : kQuadrupletDegree),
        channels_(n_channels, n_species, n_radial, degree_, std::move(radial)) {
    for (const double c : centre) first_.push_back(-c);
    size_ = 0;
    each_product([this](const DegreeTriple&, int, int, int) { ++size_; });
    value_.resize(size_);
    slope_.resize(3 * static_cast<size_t>(size_) * kWidest);
    alone_.resize(static_cast<size_t>(n_species) * size_);
    for (int s = 0; s < n_species && k_ > 0; ++s) {
      start(s);
      invariants(false);
      for (int f = 0; f < size_; ++f) alone_[static_cast<size_t>(s) * size_ + f] = value_[f];
    }
  }

  int n_channels() const { return k_; }
  int size() const { return size_; }  // invariants of one centre species

  void start(int centre_species) { channels_.start(first_.data() + static_cast<size_t>(centre_species) * k_); }

  // A neighbour of one species with four splines from `first` on and its harmonics.
  void add(int species, int first, const double value[4], const double* harmonic) {
    channels_.add(species, first, value, harmonic);
  }

  // Values, and their derivatives with respect to the densities if asked for.
  void invariants(bool with_slopes) {
    int f = 0;
    each_product([&](const DegreeTriple& t, int k1, int k2, int k3) {
      const double *a1 = channels_.density(k1), *a2 = channels_.density(k2), *a3 = channels_.density(k3);
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
    channels_.move(species, first, value, slope, n, r, harmonic, harmonic_gradient);
    int f = 0;
    each_product([&](const DegreeTriple& t, int k1, int k2, int k3) {
      const int channel[3] = {k1, k2, k3}, degree[3] = {t.l1, t.l2, t.l3};
      const double* slopes = slope_.data() + 3 * static_cast<size_t>(f) * kWidest;
      double g[3] = {0, 0, 0};
      for (int factor = 0; factor < 3; ++factor) {
        const int l = degree[factor];
        const double* move = channels_.moved(channel[factor]) + 3 * l * l;
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

  int k_, degree_, size_ = 0;
  ChannelRows channels_;
  std::vector<double> first_, value_, slope_, alone_;
};

}  // namespace trepid
