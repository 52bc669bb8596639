// The part of Kernel<L> that adds quadruplets: kLanes centres of one species at a time. Included inside the class body of
// kernel.h.

static constexpr int kDegree = L < kQuadrupletDegree ? L : kQuadrupletDegree;

void prepare_quadruplets() {
  quadruplet_density_.reserve(kDensitiesOfQuadruplets);
  quadruplet_response_.reserve(kDensitiesOfQuadruplets);
  alone_.reserve(ns_);
  for (int s = 0; s < ns_; ++s) {
    start_densities(s);
    alone_[s] = energy_of_batch(s)[0];
  }
}

// The densities of atoms without neighbours.
void start_densities(int si) {
  Vd* a = quadruplet_density_.data();
  for (int q = 0; q < kDensitiesOfQuadruplets; ++q) a[q] = Vd{};
  for (int k = 0; k < kQuadrupletChannels; ++k) a[k] = splat(-m_.channel_centre[si * kQuadrupletChannels + k]);
}

Vd energy_of_batch(int si) {
  return quadruplet_energy(kDegree, m_.quadruplet + static_cast<size_t>(si) * quadruplet_size(L), quadruplet_density_.data(),
                           quadruplet_response_.data());
}

void compute_batches(const System& system, int begin, int end, Output& out) {
  int* chosen = of_species_.reserve(end - begin);
  for (int s = 0; s < ns_; ++s) {
    int n = 0;
    for (int k = begin; k < end; ++k) {
      const int i = system.centres ? system.centres[k] : k;
      if (species_of(system, i) == s) chosen[n++] = i;
    }
    for (int first = 0; first < n; first += kLanes)
      batch(system, chosen + first, n - first < kLanes ? n - first : kLanes, s, out);
  }
}

void batch(const System& system, const int* centres, int n, int si, Output& out) {
  for (int c = 0; c < n; ++c) {
    w_ = work_ + c;
    forward(system, centres[c], si, out);
  }
  start_densities(si);
  for (int c = 0; c < n; ++c) {
    w_ = work_ + c;
    w_->lane = c;
    if (w_->n_triplet > 0) put_densities(c);
  }
  const Vd energy = energy_of_batch(si) - alone_[si];
  for (int c = 0; c < n; ++c) {
    w_ = work_ + c;
    if (w_->n_triplet > 0) {
      w_->energy += energy[c];
      take_responses(c);
      unmix();
    }
    backward(system, si, out);
  }
}

// Channel densities of the centre at hand, from `mix`, into lane c.
void put_densities(int c) {
  for (int q = 0; q < (kDegree + 1) * (kDegree + 1); ++q) {
    const double* from = w_->channel_density.data() + static_cast<size_t>(q) * channel_stride_ + first_quadruplet_channel_;
    double* to = reinterpret_cast<double*>(quadruplet_density_.data() + q * kQuadrupletChannels) + c;
    for (int k = 0; k < kQuadrupletChannels; ++k) to[k * kLanes] += from[k];
  }
}

// dE/d(density) of lane c to the channel responses of the centre at hand, for `unmix`.
void take_responses(int c) {
  for (int q = 0; q < (kDegree + 1) * (kDegree + 1); ++q) {
    const double* from = reinterpret_cast<const double*>(quadruplet_response_.data() + q * kQuadrupletChannels) + c;
    double* to = w_->channel_response.data() + static_cast<size_t>(q) * channel_stride_ + first_quadruplet_channel_;
    for (int k = 0; k < kQuadrupletChannels; ++k) to[k] = from[k * kLanes];
  }
}

// The same for one block of live directions, into live_channel_response_. Products of densities are shared by the directions.
void live_quadruplets(int si, int block) {
  constexpr int K = kQuadrupletChannels, V = kRankVectors;
  const int lane = w_->lane;
  float a[kDensitiesOfQuadruplets];
  for (int q = 0; q < kDensitiesOfQuadruplets; ++q) a[q] = static_cast<float>(quadruplet_density_[q][lane]);
  Vf z[kDensitiesOfQuadruplets][V] = {};
  const float* c = m_.quadruplet_live + static_cast<size_t>(si) * quadruplet_size(L) * m_.rank + block * kRankBlock;
  for (const DegreeTriple& t : kDegreeTriple) {
    if (t.l3 > kDegree) continue;
    for (int u = t.first_group; u < t.first_group + t.n_groups; ++u) {
      const CouplingGroup& group = kCouplingGroup[u];
      const Coupling* w = kCoupling + group.first;
      float product[K][K] = {};
      for (int n = 0; n < group.n; ++n)
        for (int k1 = 0; k1 < K; ++k1)
          for (int k2 = 0; k2 < K; ++k2)
            product[k1][k2] += static_cast<float>(w[n].weight) * a[w[n].q1 * K + k1] * a[w[n].q2 * K + k2];
      const float* a3 = a + group.q3 * K;
      Vf y[K][K][V];
      for (int k1 = 0; k1 < K; ++k1)
        for (int k2 = 0; k2 < K; ++k2)
          for (int v = 0; v < V; ++v) {
            Vf total{};
            for (int k3 = 0; k3 < K; ++k3) {
              const Vf row = *at(c + static_cast<size_t>((k1 * K + k2) * K + k3) * m_.rank, v);
              total += row * a3[k3];
              z[group.q3 * K + k3][v] += row * product[k1][k2];
            }
            y[k1][k2][v] = total;
          }
      for (int n = 0; n < group.n; ++n) {
        const float weight = static_cast<float>(w[n].weight);
        for (int k1 = 0; k1 < K; ++k1)
          for (int k2 = 0; k2 < K; ++k2) {
            const float a1 = weight * a[w[n].q1 * K + k1], a2 = weight * a[w[n].q2 * K + k2];
            for (int v = 0; v < V; ++v) {
              z[w[n].q1 * K + k1][v] += y[k1][k2][v] * a2;
              z[w[n].q2 * K + k2][v] += y[k1][k2][v] * a1;
            }
          }
      }
    }
    c += static_cast<size_t>(K * K * K) * m_.rank;
  }
  for (int q = 0; q < (kDegree + 1) * (kDegree + 1); ++q)
    for (int k = 0; k < K; ++k)
      for (int v = 0; v < V; ++v)
        live_channel_response_[(static_cast<size_t>(q) * n_mixing_ + first_quadruplet_channel_ + k) * V + v] = z[q * K + k][v];
}
