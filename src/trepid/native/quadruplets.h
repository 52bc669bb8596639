// Quadruplet energies of kLanes centres at once, and their derivatives with respect to the channel densities: lanes =
// centres, one centre species. Included by kernel.h, inside its namespace; the form is defined in model.h.

// Per harmonic q and channel k, at [q * kQuadrupletChannels + k]; channels that a model does not have stay zero.
constexpr int kHarmonicsOfQuadruplets = (kQuadrupletDegree + 1) * (kQuadrupletDegree + 1);
constexpr int kDensitiesOfQuadruplets = kHarmonicsOfQuadruplets * kQuadrupletChannels;

// Coefficients are [degree triple][k1][k2][k3], dense; triples beyond `degree` are not there.
// `response` is set to dE/d(density).
inline Vd quadruplet_energy(int degree, const double* coefficients, const Vd* density, Vd* response) {
  constexpr int K = kQuadrupletChannels;
  for (int q = 0; q < kDensitiesOfQuadruplets; ++q) response[q] = Vd{};
  Vd energy{};
  const double* c = coefficients;
  for (const DegreeTriple& t : kDegreeTriple) {
    if (t.l3 > degree) continue;
    for (int u = t.first_group; u < t.first_group + t.n_groups; ++u) {
      const CouplingGroup& group = kCouplingGroup[u];
      const Coupling* w = kCoupling + group.first;
      Vd product[K][K] = {};  // sum W a1 a2 at this harmonic of the third density
      for (int n = 0; n < group.n; ++n) {
        const Vd *a1 = density + w[n].q1 * K, *a2 = density + w[n].q2 * K;
        Vd second[K];
        for (int k = 0; k < K; ++k) second[k] = w[n].weight * a2[k];
#pragma GCC unroll 4
        for (int k1 = 0; k1 < K; ++k1)
#pragma GCC unroll 4
          for (int k2 = 0; k2 < K; ++k2) product[k1][k2] += a1[k1] * second[k2];
      }
      const Vd* a3 = density + group.q3 * K;
      Vd y[K][K], third[K] = {};  // sum c a3 over the third channel, and sum c W a1 a2
#pragma GCC unroll 4
      for (int k1 = 0; k1 < K; ++k1)
#pragma GCC unroll 4
        for (int k2 = 0; k2 < K; ++k2) {
          const double* row = c + (k1 * K + k2) * K;
          Vd sum{};
#pragma GCC unroll 4
          for (int k3 = 0; k3 < K; ++k3) {
            sum += row[k3] * a3[k3];
            third[k3] += row[k3] * product[k1][k2];
          }
          y[k1][k2] = sum;
          energy += sum * product[k1][k2];
        }
      for (int k = 0; k < K; ++k) response[group.q3 * K + k] += third[k];
      for (int n = 0; n < group.n; ++n) {
        const Vd *a1 = density + w[n].q1 * K, *a2 = density + w[n].q2 * K;
        Vd first[K] = {}, second[K] = {};
#pragma GCC unroll 4
        for (int k1 = 0; k1 < K; ++k1)
#pragma GCC unroll 4
          for (int k2 = 0; k2 < K; ++k2) {
            first[k1] += y[k1][k2] * a2[k2];
            second[k2] += y[k1][k2] * a1[k1];
          }
        Vd *to1 = response + w[n].q1 * K, *to2 = response + w[n].q2 * K;
        for (int k = 0; k < K; ++k) to1[k] += w[n].weight * first[k];
        for (int k = 0; k < K; ++k) to2[k] += w[n].weight * second[k];
      }
    }
    c += K * K * K;
  }
  return energy;
}
