// The part of Kernel<L> that adds quadruplets: kLanes centres of one species at a time. Included inside the class body of
// kernel.h.

static constexpr int kDegree = L < kQuadrupletDegree ? L : kQuadrupletDegree;

void prepare_quadruplets() {
  quadruplet_density_.reserve(kDensitiesOfQuadruplets);
  quadruplet_response_.reserve(kDensitiesOfQuadruplets);
  for (int q = 0; q < kHarmonicsOfQuadruplets; ++q) root_weight_[q] = q < Q ? __builtin_sqrt(weight_[q]) : 0;
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
    if (w_->n_triplet > 0) project(c);
  }
  const Vd energy = energy_of_batch(si) - alone_[si];
  for (int c = 0; c < n; ++c) {
    w_ = work_ + c;
    if (w_->n_triplet > 0) {
      w_->energy += energy[c];
      respond(c);
    }
    backward(system, si, out);
  }
}

// Channel densities of the centre at hand into lane c.
void project(int c) {
  for (int q = 0; q < (kDegree + 1) * (kDegree + 1); ++q) {
    const Vd* density = reinterpret_cast<const Vd*>(w_->density.data() + static_cast<size_t>(q) * channels_);
    double* to = reinterpret_cast<double*>(quadruplet_density_.data() + q * kQuadrupletChannels) + c;
    for (int k = 0; k < kQuadrupletChannels; ++k) {
      const Vd* v = reinterpret_cast<const Vd*>(m_.channel_radial + static_cast<size_t>(k) * channels_);
      Vd products = v[0] * density[0];
      for (int a = 1; a < channels_ / kLanes; ++a) products += v[a] * density[a];
      to[k * kLanes] += root_weight_[q] * sum(products);
    }
  }
}

// dE/d(density) of lane c to the derivatives with respect to the densities of the centre at hand.
void respond(int c) {
  for (int q = 0; q < (kDegree + 1) * (kDegree + 1); ++q) {
    Vd* response = reinterpret_cast<Vd*>(w_->response.data() + static_cast<size_t>(q) * channels_);
    const double* from = reinterpret_cast<const double*>(quadruplet_response_.data() + q * kQuadrupletChannels) + c;
    for (int k = 0; k < kQuadrupletChannels; ++k) {
      const Vd* v = reinterpret_cast<const Vd*>(m_.channel_radial + static_cast<size_t>(k) * channels_);
      const double z = root_weight_[q] * from[k * kLanes];
      for (int a = 0; a < channels_ / kLanes; ++a) response[a] += z * v[a];
    }
  }
}

// The same for one block of live directions: adds to live_response_. Products of densities are shared by the directions.
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
    for (int s = 0; s < ns_; ++s)
      for (int n = s * kp_; n < s * kp_ + k_; ++n) {
        float* to = live_response_.data() + (static_cast<size_t>(q) * (channels_ + 4) + n) * kRankBlock;
        for (int k = 0; k < K; ++k) {
          const float v_k = static_cast<float>(root_weight_[q] * m_.channel_radial[static_cast<size_t>(k) * channels_ + n]);
          for (int v = 0; v < V; ++v) *at(to, v) += v_k * z[q * K + k][v];
        }
      }
}
