// What a trained Bayesian force field is made of, as plain arrays: the specification that the Python module and the
// LAMMPS plugin share. No dependency, no ownership: pointers belong to the caller.
//
//   E = sum_i e_i,   e_i = offset[s_i] + 1/2 sum_j f2(r_ij) + 1/2 sum_j zbl(r_ij) + sum_lm w_lm A_lm^T C_l A_lm
//
//   f2(r)   = sum_n c_n B_n(r)                          cubic B-splines on a uniform grid, one set per species pair
//   A_lm,sn = sum_(j of species s) B_n(r_ij) Y_lm(r_ij)   atomic density, channel (s, n)
//   C_l     = symmetric matrix over channels, one per centre species and l
//
// Y_lm are the unnormalised real harmonics (d^m P_l / dz^m)(z) * {Re, Im}(x + i y)^m of the unit vector; with
// w_lm = (2 - delta_m0) (l - m)! / (l + m)! the addition theorem reads P_l(n . n') = sum_m w_lm Y_lm(n) Y_lm(n').
//
// B_n is centred at r_min + h (n - 1), h = (cutoff - r_min) / n_splines. The three splines that would reach beyond the
// cutoff are left out, so value, slope and curvature vanish there. Below r_min every B_n continues as a straight line.
#pragma once

namespace trepid {

constexpr int kMaxDegree = 8;     // highest l the kernels are compiled for
constexpr int kChannelBlock = 8;  // radial channels of one species are padded to a multiple of this
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
};

inline constexpr int padded_radial(int n_radial) {
  return (n_radial + kChannelBlock - 1) / kChannelBlock * kChannelBlock;
}
inline int n_channels(const Model& m) {
  return m.n_species * padded_radial(m.n_radial);
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
};

}  // namespace trepid
