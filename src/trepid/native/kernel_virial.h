// The part of Kernel<L> that adds the virial of every atom for the heat flux. Included inside the class body of kernel.h.
//
// With the energy e_i at the place of atom i, the heat flux of atoms with energies E_k and velocities v_k is
//   J = sum_k E_k v_k - sum_k W_k v_k,   W_k,ab = sum_i (r_k - r_i)_a d(e_i)/d(r_k)_b
// (Fan et al., Phys. Rev. B 92, 094301 (2015), eq. 22; -W is the centroid virial of Surblys et al., Phys. Rev. E 99, 051301
// (2019), with the atom i of every e_i as the centre). W is not symmetric. An atom k has contributions of all centres around it.

// The pairs: both centres of a pair have half of its energy, so that W of the pair is half of its virial for each atom, and the
// sum over the neighbours of one centre has all there is to its own atom.
static void add_pair_virial(const double strain[6], double* w) {
  static constexpr int entry[9] = {0, 5, 4, 5, 1, 3, 4, 3, 2};
  for (int ab = 0; ab < 9; ++ab) w[ab] += strain[entry[ab]];
}

// The gradients of one species of neighbours, in gradient_, to the virials of these neighbours.
void scatter_virial(const System& system, const Segment& g, double* virials) {
  const double *gx = gradient_.data(), *gy = gx + w_->capacity + kLanes, *gz = gy + w_->capacity + kLanes;
  for (int j = 0; j < g.n; ++j) {
    const double d[3] = {g.dx[j], g.dy[j], g.dz[j]}, gradient[3] = {gx[j], gy[j], gz[j]};
    double* w = virials + 9 * static_cast<size_t>(system.target ? system.target[g.index[j]] : g.index[j]);
    for (int a = 0; a < 3; ++a)
      for (int b = 0; b < 3; ++b) w[3 * a + b] += d[a] * gradient[b];
  }
}
