// Energy, forces, strain derivative and live force uncertainty of a Model: vectorised, without a loop over triplets.
//
// Compiled once per instruction set: TREPID_ISA names the namespace, the compiler's target decides the vector width.
// Nothing from the C++ library is used here, so that no inline function compiled for a newer CPU can be picked up by
// older code.
//
// One centre at a time:
//   gather     pair energies, and the neighbours inside the triplet cutoff sorted by species    lanes = list entries
//   angular    Y_lm of every neighbour                                     lanes = neighbours
//   density    A_lm,a = sum_j B_a(r_j) Y_lm(j)                             lanes = radial channels
//   contract   Z_lm,a = dE_i/dA_lm,a = 2 w_lm sum_b C_l,ab A_lm,b          lanes = radial channels
//   mix        a_k = sum_b V_kb A_b, products of two of them, and back     lanes = mixed channels, radial channels
//   backward   g_j = dE_i/dd_ij = sum_lm,n Z_lm,n grad(B_n Y_lm)           lanes = neighbours
//   live       the same contraction and gradient for `rank` other C        lanes = directions, in floats
//   quadruplets  products of three channel densities of kLanes centres     lanes = centres
//   support    distance of the densities from those of the training data   lanes = radial channels
#pragma once

#include <stdlib.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "model.h"

#ifndef TREPID_ISA
#error "define TREPID_ISA, the namespace of this build of the kernel"
#endif

#define TREPID_INLINE inline __attribute__((always_inline))

namespace trepid {
namespace TREPID_ISA {

#include "lanes.h"

#include "quadruplets.h"

constexpr int kChannelVectors = kChannelBlock / kLanes;
constexpr int kRankVectors = kRankBlock / kFloatLanes;
constexpr int kCellCoefficients = 4;

// A growing, 64-byte aligned array; old contents are not kept.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { free(data_); }
  T* reserve(size_t n) {
    if (n > size_) {
      free(data_);
      size_ = n + n / 4 + 64;
      data_ = static_cast<T*>(aligned_alloc(64, (size_ * sizeof(T) + 63) / 64 * 64));
      if (!data_) abort();
    }
    return data_;
  }
  T* data() { return data_; }
  const T* data() const { return data_; }
  T& operator[](size_t k) { return data_[k]; }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

// Cubic B-spline of unit spacing and its derivative at distance x from its centre (truncated powers, no branch).
TREPID_INLINE void spline_bump(Vd x, Vd* value, Vd* slope) {
  const Vd zero{}, distance = larger(x, -x);
  const Vd outer = larger(2.0 - distance, zero), inner = larger(1.0 - distance, zero);
  const Vd outer2 = outer * outer, inner2 = inner * inner;
  *value = (outer2 * outer - 4.0 * inner2 * inner) * (1.0 / 6);
  const Vd magnitude = 0.5 * outer2 - 2.0 * inner2;
  *slope = x > zero ? -magnitude : magnitude;
}

constexpr int triangle(int l, int m) {
  return l * (l + 1) / 2 + m;
}
constexpr int even_index(int l, int m) {
  return m == 0 ? l * l : l * l + 2 * m - 1;
}
constexpr int odd_index(int l, int m) {
  return l * l + 2 * m;
}

class KernelBase {
 public:
  virtual ~KernelBase() = default;
  virtual void compute(const System& system, int begin, int end, Output& out) = 0;
};

template <int L>
class Kernel final : public KernelBase {
  static constexpr int Q = (L + 1) * (L + 1);
  static constexpr int T = (L + 1) * (L + 2) / 2;
  // Accumulators of the density pass that fit the register file.
  static constexpr int kAccumulators = kLanes == 8 ? 25 : 12;

  // Angular data of kLanes neighbours.
  struct Block {
    Vd x, y, z;             // unit vector
    Vd inverse_r;           // 1/A
    Vd t;                   // radial coordinate in grid steps, not below 0
    Vd below;               // what was cut off there
    Vd p[T];                // d^m P_l / dz^m, at triangle(l, m)
    Vd c[L + 1], s[L + 1];  // Re, Im (x + i y)^m
    Vd harmonic[Q];
  };

  // Neighbours of one species inside the triplet cutoff, those that only the last four splines reach behind the others.
  struct Segment {
    int n, n_near, first_block, n_blocks;
    double *dx, *dy, *dz, *r2;
    int* index;
  };

  // What belongs to one centre.
  struct Work {
    int row, n_triplet, lane = 0;
    double energy, force[3], strain[6];
    int capacity = -1, n_pairs = 0;  // -1: no arrays yet, which a centre without neighbours needs too
    Buffer<double> pair_dx, pair_dy, pair_dz, pair_r, pair_inverse, segment_vectors, radial, density, response, channel_density,
        channel_response;
    Buffer<int> pair_species, segment_index;
    Buffer<Segment> segments;
    Buffer<Block> blocks;
  };

 public:
  explicit Kernel(const Model& model)
      : m_(model),
        ns_(model.n_species),
        k_(model.n_radial),
        kp_(padded_radial(model.n_radial)),
        channels_(n_channels(model)) {
    pair_step_ = m_.n_pair / (m_.pair_cutoff - m_.r_min);
    radial_step_ = m_.n_radial / (m_.triplet_cutoff - m_.r_min);
    const double far = m_.r_min + (m_.n_radial - 4) / radial_step_;
    far2_ = far * far;
    for (int l = 0; l <= L; ++l) {
      weight_[l * l] = 1;
      double ratio = 1;
      for (int m = 1; m <= l; ++m) {
        ratio /= static_cast<double>(l + m) * (l - m + 1);
        weight_[even_index(l, m)] = weight_[odd_index(l, m)] = 2 * ratio;
      }
    }
    tabulate_pairs();
    spline_centre_.reserve(kp_);
    for (int n = 0; n < kp_; ++n) spline_centre_[n] = n - 1;
    for (w_ = work_; w_ < work_ + (m_.quadruplet ? kLanes : 1); ++w_) {
      w_->density.reserve(static_cast<size_t>(Q) * channels_);
      w_->response.reserve(static_cast<size_t>(Q) * channels_);
      w_->segments.reserve(ns_);
    }
    if (has_channels()) {
      prepare_channels();
      for (Work& w : work_) {
        w.channel_density.reserve(static_cast<size_t>(Q) * channel_stride_);
        w.channel_response.reserve(static_cast<size_t>(Q) * channel_stride_);
      }
    }
    w_ = work_;
    if (m_.quadruplet) prepare_quadruplets();
    powers_.reserve(n_powers(m_));
    zbl_reach2_.reserve(ns_);
    for (int a = 0; a < ns_; ++a) {
      zbl_reach2_[a] = 0;
      for (int b = 0; b < ns_; ++b) {
        const double outer = m_.zbl[a * ns_ + b].outer;
        if (outer * outer > zbl_reach2_[a]) zbl_reach2_[a] = outer * outer;
      }
    }
    if (m_.rank > 0) {
      live_density_.reserve(static_cast<size_t>(Q) * channels_);
      // Four more channels than there are, for the splines left out at the cutoff.
      live_response_.reserve(static_cast<size_t>(Q) * (channels_ + 4) * kRankBlock);
      memset(live_response_.data(), 0, static_cast<size_t>(Q) * (channels_ + 4) * kRankBlock * sizeof(float));
    }
  }

  void compute(const System& system, int begin, int end, Output& out) override {
    if (m_.quadruplet) {
      compute_batches(system, begin, end, out);
      return;
    }
    for (int k = begin; k < end; ++k) {
      const int i = system.centres ? system.centres[k] : k, si = species_of(system, i);
      forward(system, i, si, out);
      if (m_.mixed_triplet && w_->n_triplet > 0) unmix();
      backward(system, si, out);
    }
  }

 private:
  // Pair energies as one cubic polynomial per cell, in the local coordinate.
  void tabulate_pairs() {
    const int stride = m_.n_pair + 3;
    double* table = pair_table_.reserve(static_cast<size_t>(ns_) * ns_ * m_.n_pair * kCellCoefficients);
    for (int s = 0; s < ns_ * ns_; ++s)
      for (int cell = 0; cell < m_.n_pair; ++cell) {
        const double* c = m_.pair + static_cast<size_t>(s) * stride + cell;
        double* out = table + (static_cast<size_t>(s) * m_.n_pair + cell) * kCellCoefficients;
        out[0] = (c[0] + 4 * c[1] + c[2]) / 6;
        out[1] = (c[2] - c[0]) / 2;
        out[2] = (c[0] - 2 * c[1] + c[2]) / 2;
        out[3] = (c[3] - 3 * c[2] + 3 * c[1] - c[0]) / 6;
      }
  }

  void reserve_neighbours(int n) {
    if (n <= w_->capacity) return;
    w_->capacity = (n + n / 4 + 2 * kLanes) / kLanes * kLanes;
    const size_t padded = w_->capacity + kLanes;
    if (m_.rank > 0) {
      w_->pair_dx.reserve(padded), w_->pair_dy.reserve(padded), w_->pair_dz.reserve(padded);
      w_->pair_r.reserve(padded), w_->pair_inverse.reserve(padded), w_->pair_species.reserve(padded);
    }
    w_->segment_vectors.reserve(8 * padded * ns_), w_->segment_index.reserve(2 * padded * ns_);
    for (int s = 0; s < ns_; ++s) {
      Segment& g = w_->segments[s];
      g.dx = w_->segment_vectors.data() + 8 * padded * s;
      g.dy = g.dx + 2 * padded, g.dz = g.dy + 2 * padded, g.r2 = g.dz + 2 * padded;
      g.index = w_->segment_index.data() + 2 * padded * s;
    }
    const size_t n_blocks = w_->capacity / kLanes + ns_ + 1;
    w_->blocks.reserve(n_blocks);
    w_->radial.reserve((n_blocks * kLanes) * static_cast<size_t>(kp_));
    gradient_.reserve(3 * padded);
    if (m_.rank > 0) live_harmonic_.reserve(n_blocks * Q * 4);
  }

  static TREPID_INLINE int species_of(const System& system, int j) {
    return system.species_of_type ? system.species_of_type[system.species[j]] : system.species[j];
  }

  static TREPID_INLINE bool with_strain(const Output& out) { return out.strain || out.atom_strain || out.atom_virial; }

  // Pair energies, densities, triplet energy and its derivatives with respect to the densities.
  void forward(const System& system, int i, int si, Output& out) {
    Work& w = *w_;
    w.row = system.target ? system.target[i] : i;
    for (double& f : w.force) f = 0;
    for (double& v : w.strain) v = 0;
    w.energy = m_.offset[si] + (with_strain(out)
                                    ? gather<true>(system, i, si, w.force, w.strain, out.live_forces)
                                    : gather<false>(system, i, si, w.force, w.strain, out.live_forces));
    if (out.atom_virial) add_pair_virial(w.strain, out.atom_virial + 9 * static_cast<size_t>(w.row));
    w.n_triplet = 0;
    for (int s = 0; s < ns_; ++s) w.n_triplet += w.segments[s].n;
    if (w.n_triplet == 0) return;
    for (int s = 0; s < ns_; ++s) angular(w.segments[s]);
    for (int s = 0; s < ns_; ++s) densities(s);
    if (!m_.mixed_triplet) w.energy += contract(si);
    if (has_channels()) {
      mix();
      w.energy += mixed_triplets(si);
    }
  }

  // Forces from the derivatives, and all sums.
  void backward(const System& system, int si, Output& out) {
    Work& w = *w_;
    if (w.n_triplet > 0)
      for (int s = 0; s < ns_; ++s) backward(system, s, out, w.force, with_strain(out) ? w.strain : nullptr);
    for (int x = 0; x < 3; ++x) out.forces[3 * static_cast<size_t>(w.row) + x] += w.force[x];
    out.energy += w.energy;
    if (out.atom_energies) out.atom_energies[w.row] += w.energy;
    if (with_strain(out))
      for (int v = 0; v < 6; ++v) {
        if (out.strain) out.strain[v] += w.strain[v];
        if (out.atom_strain) out.atom_strain[6 * static_cast<size_t>(w.row) + v] += w.strain[v];
      }
    if (out.live_forces) live(system, si, w.row, w.n_triplet, out.live_forces);
    if (out.support || out.powers) {
      norm_densities(w.n_triplet);
      if (out.support) out.support[w.row] = own_distance(si);
      if (out.powers)
        memcpy(out.powers + static_cast<size_t>(w.row) * n_powers(m_), powers_.data(), n_powers(m_) * sizeof(double));
    }
  }

#include "kernel_pairs.h"

  void angular(const Segment& g) {
    for (int b = 0; b < g.n_blocks; ++b) {
      Block& k = w_->blocks[g.first_block + b];
      const int at = b * kLanes;
      const Vd r = root(*reinterpret_cast<const Vd*>(g.r2 + at)), inverse = 1.0 / r, zero{};
      k.inverse_r = inverse;
      k.x = *reinterpret_cast<const Vd*>(g.dx + at) * inverse;
      k.y = *reinterpret_cast<const Vd*>(g.dy + at) * inverse;
      k.z = *reinterpret_cast<const Vd*>(g.dz + at) * inverse;
      const Vd t = (r - m_.r_min) * radial_step_;
      k.t = larger(t, zero);
      k.below = t - k.t;
      k.c[0] = splat(1);
      k.s[0] = zero;
      for (int m = 1; m <= L; ++m) {
        k.c[m] = k.x * k.c[m - 1] - k.y * k.s[m - 1];
        k.s[m] = k.x * k.s[m - 1] + k.y * k.c[m - 1];
      }
      double diagonal = 1;
#pragma GCC unroll 9
      for (int m = 0; m <= L; ++m) {
        if (m > 0) diagonal *= 2 * m - 1;
        k.p[triangle(m, m)] = splat(diagonal);
        if (m < L) k.p[triangle(m + 1, m)] = (2 * m + 1) * diagonal * k.z;
#pragma GCC unroll 9
        for (int l = m + 2; l <= L; ++l)
          k.p[triangle(l, m)] = ((2 * l - 1.0) / (l - m)) * k.z * k.p[triangle(l - 1, m)] -
                                ((l + m - 1.0) / (l - m)) * k.p[triangle(l - 2, m)];
      }
#pragma GCC unroll 9
      for (int l = 0; l <= L; ++l) {
        k.harmonic[l * l] = k.p[triangle(l, 0)];
#pragma GCC unroll 9
        for (int m = 1; m <= l; ++m) {
          k.harmonic[even_index(l, m)] = k.p[triangle(l, m)] * k.c[m];
          k.harmonic[odd_index(l, m)] = k.p[triangle(l, m)] * k.s[m];
        }
      }
    }
  }

  template <int First>
  TREPID_INLINE void density_chunk(const Segment& g, int channel_block, int species) {
    constexpr int n = Q - First < kAccumulators ? Q - First : kAccumulators;
    Vd sum_[n][kChannelVectors] = {};
    for (int j = 0; j < g.n; ++j) {
      const Block& k = w_->blocks[g.first_block + j / kLanes];
      const double* y = reinterpret_cast<const double*>(k.harmonic + First) + j % kLanes;
      const Vd* radial = reinterpret_cast<const Vd*>(
          w_->radial.data() + static_cast<size_t>(g.first_block * kLanes + j) * kp_ + channel_block * kChannelBlock);
      Vd value[kChannelVectors];
      for (int v = 0; v < kChannelVectors; ++v) value[v] = radial[v];
#pragma GCC unroll 32
      for (int q = 0; q < n; ++q)
#pragma GCC unroll 4
        for (int v = 0; v < kChannelVectors; ++v) sum_[q][v] += value[v] * y[q * kLanes];
    }
#pragma GCC unroll 32
    for (int q = 0; q < n; ++q)
#pragma GCC unroll 4
      for (int v = 0; v < kChannelVectors; ++v)
        *reinterpret_cast<Vd*>(w_->density.data() + static_cast<size_t>(First + q) * channels_ + species * kp_ +
                               channel_block * kChannelBlock + v * kLanes) = sum_[q][v];
    if constexpr (First + n < Q) density_chunk<First + n>(g, channel_block, species);
  }

  void densities(int species) {
    const Segment& g = w_->segments[species];
    const Vd* centres = reinterpret_cast<const Vd*>(spline_centre_.data());
    for (int j = 0; j < g.n; ++j) {  // radial functions of each neighbour, lanes = channels
      const Block& k = w_->blocks[g.first_block + j / kLanes];
      const double t = k.t[j % kLanes], below = k.below[j % kLanes];
      Vd* radial = reinterpret_cast<Vd*>(w_->radial.data() + static_cast<size_t>(g.first_block * kLanes + j) * kp_);
      for (int v = 0; v < kp_ / kLanes; ++v) {
        Vd value, slope;
        spline_bump(t - centres[v], &value, &slope);
        radial[v] = value + below * slope;
      }
    }
    for (int b = 0; b < kp_ / kChannelBlock; ++b) density_chunk<0>(g, b, species);
  }

  // Radial is n_radial where it is known at compile time (kChannelBlock, the default), or 0.
  template <int Radial, int l>
  TREPID_INLINE Vd contract_degree(const double* coefficients) {
    const int n_radial = Radial ? Radial : k_;
    Vd energy{};
    const double* c = coefficients + static_cast<size_t>(l) * channels_ * channels_;
    for (int a = 0; a < channels_; a += kChannelBlock) {
      Vd z[2 * l + 1][kChannelVectors] = {};
      for (int s = 0; s < ns_; ++s)
#pragma GCC unroll 2
        for (int b = s * kp_; b < s * kp_ + n_radial; ++b) {
          const Vd* row = reinterpret_cast<const Vd*>(c + static_cast<size_t>(b) * channels_ + a);
#pragma GCC unroll 17
          for (int m = 0; m < 2 * l + 1; ++m)
#pragma GCC unroll 4
            for (int v = 0; v < kChannelVectors; ++v)
              z[m][v] += row[v] * w_->density[static_cast<size_t>(l * l + m) * channels_ + b];
        }
#pragma GCC unroll 17
      for (int m = 0; m < 2 * l + 1; ++m)
#pragma GCC unroll 4
        for (int v = 0; v < kChannelVectors; ++v) {
          const size_t at = static_cast<size_t>(l * l + m) * channels_ + a + v * kLanes;
          const Vd weighted = z[m][v] * weight_[l * l + m];
          energy += weighted * *reinterpret_cast<const Vd*>(w_->density.data() + at);
          *reinterpret_cast<Vd*>(w_->response.data() + at) = 2.0 * weighted;
        }
    }
    if constexpr (l < L) energy += contract_degree<Radial, l + 1>(coefficients);
    return energy;
  }

  double contract(int si) {
    const double* coefficients = m_.triplet + static_cast<size_t>(si) * (L + 1) * channels_ * channels_;
    return sum(k_ == kChannelBlock ? contract_degree<kChannelBlock, 0>(coefficients)
                                   : contract_degree<0, 0>(coefficients));
  }

  void backward(const System& system, int species, Output& out, double force[3], double* strain) {
    const Segment& g = w_->segments[species];
    Vd* splines = dense_radial_.reserve(2 * k_);
    for (int b = 0; b < g.n_blocks; ++b) {
      if (k_ != kChannelBlock)
        block_gradient<0, 0>(g, b, species, splines);
      else if (b * kLanes < g.n_near)
        block_gradient<0, kChannelBlock>(g, b, species, splines);
      else
        block_gradient<kChannelBlock - 4, 4>(g, b, species, splines);
    }
    scatter(system, g, out.forces, force, strain);
    if (out.atom_virial) scatter_virial(system, g, out.atom_virial);
  }

  // g_j of one block of neighbours, into gradient_. Count splines from First on are summed; 0 stands for all of
  // n_radial.
  template <int First, int Count>
  void block_gradient(const Segment& g, int b, int species, Vd* splines) {
    const int n_radial = Count ? Count : k_;
    double *gx = gradient_.data(), *gy = gx + w_->capacity + kLanes, *gz = gy + w_->capacity + kLanes;
    Vd local[Count ? 2 * Count : 1];
    Vd *value = Count ? local : splines, *slope = value + n_radial;
    const Block& k = w_->blocks[g.first_block + b];
    for (int n = 0; n < n_radial; ++n) {
      spline_bump(k.t - (First + n - 1.0), value + n, slope + n);
      value[n] += k.below * slope[n];
    }
    Vd along{}, tx{}, ty{}, tz{};  // along: dE/dr at fixed direction; t: gradient in the components of the direction
#pragma GCC unroll 9
    for (int m = 0; m <= L; ++m) {
      Vd even_g{}, odd_g{}, even_h{}, odd_h{}, even_z{}, odd_z{};
#pragma GCC unroll 9
      for (int l = m; l <= L; ++l) {
        const double* even =
            w_->response.data() + static_cast<size_t>(even_index(l, m)) * channels_ + species * kp_ + First;
        const double* odd = w_->response.data() + static_cast<size_t>(odd_index(l, m)) * channels_ + species * kp_ + First;
        Vd ge{}, he{}, go{}, ho{};
#pragma GCC unroll 8
        for (int n = 0; n < n_radial; ++n) {
          ge += even[n] * value[n];
          he += even[n] * slope[n];
          if (m > 0) {
            go += odd[n] * value[n];
            ho += odd[n] * slope[n];
          }
        }
        const Vd p = k.p[triangle(l, m)];
        even_g += ge * p;
        even_h += he * p;
        if (m > 0) {
          odd_g += go * p;
          odd_h += ho * p;
        }
        if (m < l) {
          const Vd next = k.p[triangle(l, m + 1)];
          even_z += ge * next;
          if (m > 0) odd_z += go * next;
        }
      }
      along += even_h * k.c[m];
      tz += even_z * k.c[m];
      if (m > 0) {
        along += odd_h * k.s[m];
        tz += odd_z * k.s[m];
        tx += static_cast<double>(m) * (even_g * k.c[m - 1] + odd_g * k.s[m - 1]);
        ty += static_cast<double>(m) * (odd_g * k.c[m - 1] - even_g * k.s[m - 1]);
      }
    }
    const Vd radial = along * radial_step_ - (tx * k.x + ty * k.y + tz * k.z) * k.inverse_r;
    *reinterpret_cast<Vd*>(gx + b * kLanes) = radial * k.x + tx * k.inverse_r;
    *reinterpret_cast<Vd*>(gy + b * kLanes) = radial * k.y + ty * k.inverse_r;
    *reinterpret_cast<Vd*>(gz + b * kLanes) = radial * k.z + tz * k.inverse_r;
  }

  void scatter(const System& system, const Segment& g, double* forces, double force[3], double* strain) {
    const double *gx = gradient_.data(), *gy = gx + w_->capacity + kLanes, *gz = gy + w_->capacity + kLanes;
    double fx = 0, fy = 0, fz = 0;
    for (int j = 0; j < g.n; ++j) {
      const int row = system.target ? system.target[g.index[j]] : g.index[j];
      double* f = forces + 3 * static_cast<size_t>(row);
      f[0] -= gx[j], f[1] -= gy[j], f[2] -= gz[j];
      fx += gx[j], fy += gy[j], fz += gz[j];
    }
    force[0] += fx, force[1] += fy, force[2] += fz;
    if (strain)
      for (int j = 0; j < g.n; ++j) {
        strain[0] += gx[j] * g.dx[j], strain[1] += gy[j] * g.dy[j], strain[2] += gz[j] * g.dz[j];
        strain[3] += 0.5 * (gy[j] * g.dz[j] + gz[j] * g.dy[j]);
        strain[4] += 0.5 * (gx[j] * g.dz[j] + gz[j] * g.dx[j]);
        strain[5] += 0.5 * (gx[j] * g.dy[j] + gy[j] * g.dx[j]);
      }
  }

#include "kernel_virial.h"
#include "kernel_channels.h"
#include "kernel_quadruplets.h"
#include "kernel_live.h"
#include "support.h"

  const Model m_;
  const int ns_, k_, kp_, channels_;
  double pair_step_, radial_step_;
  double far2_;  // squared distance from which on only the last four radial splines are not zero, A^2
  double weight_[Q];
  double root_weight_[kHarmonicsOfChannels];
  int n_mixing_ = 0, channel_stride_ = 0, first_quadruplet_channel_ = 0;  // of kernel_channels.h
  Work* w_;  // of the centre at hand
  Buffer<double> pair_table_, spline_centre_, powers_, gradient_, zbl_reach2_, alone_, mixing_, unmixing_, mixed_table_;
  Buffer<Vd> dense_radial_, quadruplet_density_, quadruplet_response_;
  Buffer<int> of_species_;
  Work work_[kLanes];  // with quadruplets as many centres as there are lanes; else the first alone
  Buffer<float> live_density_, live_response_, live_unmixing_, live_channel_density_;
  Buffer<Vf> live_channel_response_;
  Buffer<Vh> live_harmonic_;
};

}  // namespace TREPID_ISA
}  // namespace trepid
