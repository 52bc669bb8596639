// What a trained Bayesian force field is made of, as plain arrays: the specification that the Python module and the
// LAMMPS plugin share. No dependency, no ownership: pointers belong to the caller.
//
//   E = sum_i e_i,   e_i = offset[s_i] + 1/2 sum_j f2(r_ij) + 1/2 sum_j zbl(r_ij) + sum_lm w_lm A_lm^T C_l A_lm + q_i
//
//   f2(r)   = sum_n c_n B_n(r)                          cubic B-splines on a uniform grid, one set per species pair
//   A_lm,sn = sum_(j of species s) B_n(r_ij) Y_lm(r_ij)   atomic density, channel (s, n)
//   C_l     = symmetric matrix over channels, one per centre species and l
//             with mixed triplets sum_lm w_lm A_lm^T C_l A_lm is sum_lm sum_kk' D_l,kk' a_k,lm a_k',lm, of channels without mean
//   q_i     = sum_(l1 l2 l3, k1 k2 k3) D_k1k2k3 sum_(m1 m2 m3) W a_k1,l1m1 a_k2,l2m2 a_k3,l3m3, less that of a single atom
//   a_k,lm  = sqrt(w_lm) sum_sn V_k,sn A_lm,sn - (l == 0) mean_k    channel k; W and l1 l2 l3 in couplings.h
//
// Y_lm are the unnormalised real harmonics (d^m P_l / dz^m)(z) * {Re, Im}(x + i y)^m of the unit vector; with
// w_lm = (2 - delta_m0) (l - m)! / (l + m)! the addition theorem reads P_l(n . n') = sum_m w_lm Y_lm(n) Y_lm(n').
//
// B_n is centred at r_min + h (n - 1), h = (cutoff - r_min) / n_splines. The three splines that would reach beyond the
// cutoff are left out, so value, slope and curvature vanish there. Below r_min every B_n continues as a straight line.
#pragma once

#include <stddef.h>

#include "couplings.h"

namespace trepid {

constexpr int kMaxDegree = 8;     // highest l the kernels are compiled for
constexpr int kChannelBlock = 8;  // radial channels of one species are padded to a multiple of this
constexpr int kQuadrupletChannels = 3;  // most channels of quadruplets; tables are padded to it
constexpr int kRankBlock = 16;    // live directions come in blocks of this: one 512-bit register of floats

// Universal screened repulsion of one species pair, switched off between inner and outer.
struct Zbl {
  double prefactor;       // eV A
  double inverse_length;  // 1/A
  double inner, outer;    // A
};

struct Model {
  int n_species;
  int n_pair;    // splines of a pair energy
  int n_radial;  // radial splines of a density
  int l_max;
  int rank;                                   // live directions, a multiple of kRankBlock, or 0
  double r_min, pair_cutoff, triplet_cutoff;  // A
  const double* offset;                       // [species]
  const double* pair;         // [species][species][n_pair + 3]: spline coefficients, the last three zero
  const double* triplet;      // [species][l_max + 1][channel][channel_padded]
  const Zbl* zbl;             // [species][species]
  const float* pair_live;     // [species][species][n_pair + 3][rank]
  const float* triplet_live;  // [species][l_max + 1][channel_padded][channel_padded][rank]
  // Support of the training data (support.h), or nullptr. The whitening is a transposed lower triangle.
  const double* support_centre = nullptr;     // [species][l_max + 1][channel_padded]
  const double* support_whitening = nullptr;  // [species][power b][power a], powers as in support_centre
  const double* support_offset = nullptr;     // [species], infinite for a species that training has not seen
  // Quadruplets, or nullptr: channels V, their means, D and the live directions of D.
  const double* channel_radial = nullptr;     // [kQuadrupletChannels][channel]
  const double* channel_centre = nullptr;     // [species][kQuadrupletChannels]
  const double* quadruplet = nullptr;         // [species][degree triple][k1][k2][k3]
  const float* quadruplet_live = nullptr;     // [species][degree triple][k1][k2][k3][rank]
  // Mixed triplets instead of `triplet` and `triplet_live`, or none: their channels V, D and the live directions of D.
  int n_triplet_channels = 0;
  const double* triplet_channel_radial = nullptr;  // [k][channel]
  const double* mixed_triplet = nullptr;           // [species][l_max + 1][k][k'], symmetric
  const float* mixed_triplet_live = nullptr;       // [species][l_max + 1][k][k'][rank]
};

inline constexpr int padded_radial(int n_radial) {
  return (n_radial + kChannelBlock - 1) / kChannelBlock * kChannelBlock;
}
inline int n_channels(const Model& m) {
  return m.n_species * padded_radial(m.n_radial);
}
// Numbers of a quadruplet table, for one species.
inline int quadruplet_size(int l_max) {
  int n = 0;
  for (const DegreeTriple& t : kDegreeTriple)
    if (t.l3 <= l_max) n += kQuadrupletChannels * kQuadrupletChannels * kQuadrupletChannels;
  return n;
}
// Numbers of a table of mixed triplets.
inline size_t mixed_size(int n_species, int l_max, int n_channels) {
  return static_cast<size_t>(n_species) * (l_max + 1) * n_channels * n_channels;
}
// Norms of the densities of an atom, padded channels included.
inline int n_powers(const Model& m) {
  return (m.l_max + 1) * n_channels(m);
}

// Atoms and neighbours. Neighbour lists are full (each pair from both sides) and may hold more than the cutoff.
struct System {
  const double* positions;       // [atoms and ghosts][3]
  const int* species;            // [atoms and ghosts], 0-based; or atom types when species_of_type is given
  const int* species_of_type;    // [types + 1] or nullptr
  const int* target;             // [atoms and ghosts]: row of the forces that an atom or ghost adds to; nullptr: itself
  const int* centres;            // [n_centres] or nullptr: 0 .. n_centres - 1
  const int* n_neighbours;       // [centre]
  const int* const* neighbours;  // [centre][k]
  int neighbour_mask;            // bits of a neighbour index that are the index
};

// Sums are added to what is there.
struct Output {
  double energy;
  double* atom_energies;  // [rows] or nullptr
  double* forces;         // [rows][3]
  double* strain;         // [6] dE/d(strain), xx yy zz yz xz xy; or nullptr
  double* atom_strain;    // [rows][6] or nullptr, the centre's share
  float* live_forces;     // [rows][3][rank] forces of the live directions, or nullptr
  double* support = nullptr;  // [rows] own distance from the training data, set by the centre; or nullptr
  double* powers = nullptr;   // [rows][n_powers] norms of the densities, set by the centre; or nullptr
  // [rows][3][3] sum_i (r_k - r_i)_a d(e_i)/d(r_k)_b of every atom k, for the heat flux; or nullptr
  double* atom_virial = nullptr;
};

}  // namespace trepid
