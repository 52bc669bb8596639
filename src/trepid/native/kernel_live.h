// The part of Kernel<L> that evaluates `rank` further potentials (the live directions) in single precision: their
// forces, squared and summed, are the force variance. Included inside the class body of kernel.h; R directions of a
// coefficient are adjacent.

void live(const System& system, int si, int row, int n_triplet, float* out) {
  if (n_triplet > 0) {
    for (int s = 0; s < ns_; ++s) live_harmonics(w_->segments[s]);
    for (int q = 0; q < Q && !m_.mixed_triplet; ++q)
      for (int a = 0; a < channels_; ++a)
        live_density_[static_cast<size_t>(q) * channels_ + a] =
            static_cast<float>(2 * weight_[q] * w_->density[static_cast<size_t>(q) * channels_ + a]);
  }
  for (int block = 0; block < m_.rank / kRankBlock; ++block) {
    Vf force[3][kRankVectors] = {};
    live_pairs(si, block, force);
    if (n_triplet > 0) {
      if (!m_.mixed_triplet)
        live_contract<0>(m_.triplet_live + static_cast<size_t>(si) * (L + 1) * channels_ * channels_ * m_.rank +
                         block * kRankBlock);
      if (has_channels()) live_channels(si, block);
      for (int s = 0; s < ns_; ++s) live_backward(system, s, block, out, force);
    }
    float* f = out + static_cast<size_t>(row) * 3 * m_.rank + block * kRankBlock;
    for (int x = 0; x < 3; ++x)
      for (int v = 0; v < kRankVectors; ++v) *at(f + x * m_.rank, v) += force[x][v];
  }
}

static TREPID_INLINE Vf* at(float* p, int v) {
  return reinterpret_cast<Vf*>(p) + v;
}
static TREPID_INLINE const Vf* at(const float* p, int v) {
  return reinterpret_cast<const Vf*>(p) + v;
}

// Four non-zero spline slopes (or values) of one distance, in floats.
TREPID_INLINE int live_splines(double t, double below, int n_cells, float step, float value[4], float slope[4]) const {
  int cell = static_cast<int>(t);
  cell = cell < n_cells - 1 ? cell : n_cells - 1;
  const float u = static_cast<float>(t - cell), w = 1 - u, shift = static_cast<float>(below);
  slope[0] = -0.5f * w * w, slope[1] = u * (1.5f * u - 2), slope[2] = -w * (1.5f * w - 2), slope[3] = 0.5f * u * u;
  value[0] = w * w * w * (1.0f / 6), value[1] = 2.0f / 3 - u * u * (1 - 0.5f * u),
  value[2] = 2.0f / 3 - w * w * (1 - 0.5f * w), value[3] = u * u * u * (1.0f / 6);
  for (int a = 0; a < 4; ++a) {
    value[a] += shift * slope[a];
    slope[a] *= step;
  }
  return cell;
}

void live_pairs(int si, int block, Vf force[3][kRankVectors]) {
  const size_t per_pair = static_cast<size_t>(m_.n_pair + 3) * m_.rank;
  const float* table = m_.pair_live + static_cast<size_t>(si) * ns_ * per_pair + block * kRankBlock;
  for (int k = 0; k < w_->n_pairs; ++k) {
    const double inverse = w_->pair_inverse[k];
    double t = (w_->pair_r[k] - m_.r_min) * pair_step_;
    t = t < 0 ? 0 : t < m_.n_pair ? t : m_.n_pair;
    float value[4], slope[4];
    const int cell = live_splines(t, 0, m_.n_pair, static_cast<float>(pair_step_ * inverse), value, slope);
    const float* c = table + w_->pair_species[k] * per_pair + static_cast<size_t>(cell) * m_.rank;
    const float dx = static_cast<float>(w_->pair_dx[k]), dy = static_cast<float>(w_->pair_dy[k]),
                dz = static_cast<float>(w_->pair_dz[k]);
    for (int v = 0; v < kRankVectors; ++v) {
      Vf d = *at(c, v) * slope[0];
      for (int a = 1; a < 4; ++a) d += *at(c + a * m_.rank, v) * slope[a];
      force[0][v] += d * dx, force[1][v] += d * dy, force[2][v] += d * dz;
    }
  }
}

// Harmonics and their gradients in floats: [block][q][value, x, y, z] of kLanes neighbours.
void live_harmonics(const Segment& g) {
  for (int b = 0; b < g.n_blocks; ++b) {
    const Block& k = w_->blocks[g.first_block + b];
    Vh* out = live_harmonic_.data() + static_cast<size_t>(g.first_block + b) * Q * 4;
    const Vd zero{};
#pragma GCC unroll 9
    for (int l = 0; l <= L; ++l)
#pragma GCC unroll 9
      for (int m = 0; m <= l; ++m) {
        const Vd p = k.p[triangle(l, m)], next = m < l ? k.p[triangle(l, m < l ? m + 1 : m)] : zero;
        Vh* even = out + 4 * even_index(l, m);
        even[0] = to_float(k.harmonic[even_index(l, m)]);
        even[3] = to_float(next * k.c[m]);
        if (m == 0) {
          even[1] = even[2] = to_float(zero);
        } else {
          Vh* odd = out + 4 * odd_index(l, m);
          even[1] = to_float(static_cast<double>(m) * p * k.c[m - 1]);
          even[2] = to_float(static_cast<double>(-m) * p * k.s[m - 1]);
          odd[0] = to_float(k.harmonic[odd_index(l, m)]);
          odd[1] = to_float(static_cast<double>(m) * p * k.s[m - 1]);
          odd[2] = to_float(static_cast<double>(m) * p * k.c[m - 1]);
          odd[3] = to_float(next * k.s[m]);
        }
      }
  }
}

// Orders m in chunks whose sums fit the registers: 16 of them hold ten sums, the row and one density.
template <int l, int First>
TREPID_INLINE void live_contract_chunk(const float* c, int a) {
  constexpr int n_orders = 2 * l + 1, fitting = kRankVectors == 1 ? n_orders : 10 / kRankVectors > 0 ? 10 / kRankVectors : 1;
  constexpr int n = n_orders - First < fitting ? n_orders - First : fitting;
  Vf z[n][kRankVectors] = {};
  for (int t = 0; t < ns_; ++t)
    for (int b = t * kp_; b < t * kp_ + k_; ++b) {
      const float* row = c + (static_cast<size_t>(a) * channels_ + b) * m_.rank;
      Vf value[kRankVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kRankVectors; ++v) value[v] = *at(row, v);
#pragma GCC unroll 17
      for (int m = 0; m < n; ++m)
#pragma GCC unroll 4
        for (int v = 0; v < kRankVectors; ++v)
          z[m][v] += value[v] * live_density_[static_cast<size_t>(l * l + First + m) * channels_ + b];
    }
#pragma GCC unroll 17
  for (int m = 0; m < n; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < kRankVectors; ++v)
      *at(live_response_.data() + (static_cast<size_t>(l * l + First + m) * (channels_ + 4) + a) * kRankBlock, v) = z[m][v];
  if constexpr (First + n < n_orders) live_contract_chunk<l, First + n>(c, a);
}

template <int l>
TREPID_INLINE void live_contract(const float* coefficients) {
  const float* c = coefficients + static_cast<size_t>(l) * channels_ * channels_ * m_.rank;
  for (int s = 0; s < ns_; ++s)
    for (int a = s * kp_; a < s * kp_ + k_; ++a) live_contract_chunk<l, 0>(c, a);
  if constexpr (l < L) live_contract<l + 1>(coefficients);
}

void live_backward(const System& system, int species, int block, float* out, Vf force[3][kRankVectors]) {
  const Segment& g = w_->segments[species];
  for (int j = 0; j < g.n; ++j) {
    const Block& k = w_->blocks[g.first_block + j / kLanes];
    const int lane = j % kLanes;
    float value[4], slope[4];
    const int cell = live_splines(k.t[lane], k.below[lane], k_, static_cast<float>(radial_step_), value, slope);
    const int n_active = k_ - cell < 4 ? k_ - cell : 4;
    for (int a = n_active; a < 4; ++a) value[a] = slope[a] = 0;
    const float* y = reinterpret_cast<const float*>(live_harmonic_.data() +
                                                    static_cast<size_t>(g.first_block + j / kLanes) * Q * 4) +
                     lane;
    const float* z = live_response_.data() + static_cast<size_t>(species * kp_ + cell) * kRankBlock;
    const int row = system.target ? system.target[g.index[j]] : g.index[j];
    float* f = out + static_cast<size_t>(row) * 3 * m_.rank + block * kRankBlock;
    const float inverse = static_cast<float>(k.inverse_r[lane]), x = static_cast<float>(k.x[lane]),
                y_ = static_cast<float>(k.y[lane]), z_ = static_cast<float>(k.z[lane]);
    // One vector of directions after the other: splines, slopes and four sums of one vector fit the registers.
#pragma GCC unroll 1
    for (int v = 0; v < kRankVectors; ++v) {
      Vf along{}, tx{}, ty{}, tz{};
#pragma GCC unroll 1
      for (int q = 0; q < Q; ++q) {
        const float* zq = z + static_cast<size_t>(q) * (channels_ + 4) * kRankBlock;
        const float* yq = y + q * 4 * kLanes;
        const Vf z0 = *at(zq, v), z1 = *at(zq + kRankBlock, v), z2 = *at(zq + 2 * kRankBlock, v),
                 z3 = *at(zq + 3 * kRankBlock, v);
        const Vf gq = z0 * value[0] + z1 * value[1] + z2 * value[2] + z3 * value[3];
        const Vf hq = z0 * slope[0] + z1 * slope[1] + z2 * slope[2] + z3 * slope[3];
        along += hq * yq[0];
        tx += gq * yq[kLanes];
        ty += gq * yq[2 * kLanes];
        tz += gq * yq[3 * kLanes];
      }
      const Vf radial = along - (tx * x + ty * y_ + tz * z_) * inverse;
      const Vf fx = radial * x + tx * inverse, fy = radial * y_ + ty * inverse, fz = radial * z_ + tz * inverse;
      *at(f, v) -= fx, *at(f + m_.rank, v) -= fy, *at(f + 2 * m_.rank, v) -= fz;
      force[0][v] += fx, force[1][v] += fy, force[2][v] += fz;
    }
  }
}
