// The part of Kernel<L> that mixes species: channel densities, the energy of mixed triplets, and the way back from derivatives
// with respect to channels to those with respect to densities. Mixed triplets and quadruplets share it: the channels of the
// triplets come first, those of the quadruplets behind them. Included inside the class body of kernel.h.
//
// Per centre, at [q * channel_stride_ + k]:  w_->channel_density, w_->channel_response = dE/d(channel_density).

static constexpr int kHarmonicsOfChannels = Q > kHarmonicsOfQuadruplets ? Q : kHarmonicsOfQuadruplets;

bool has_channels() const { return m_.mixed_triplet || m_.quadruplet; }

void prepare_channels() {
  const int k3 = m_.mixed_triplet ? m_.n_triplet_channels : 0;
  first_quadruplet_channel_ = k3;
  n_mixing_ = k3 + (m_.quadruplet ? kQuadrupletChannels : 0);
  channel_stride_ = (n_mixing_ + kLanes - 1) / kLanes * kLanes;
  for (int q = 0; q < kHarmonicsOfChannels; ++q) root_weight_[q] = q < Q ? __builtin_sqrt(weight_[q]) : 0;
  double* from = mixing_.reserve(static_cast<size_t>(channels_) * channel_stride_);
  double* to = unmixing_.reserve(static_cast<size_t>(n_mixing_) * channels_);
  memset(from, 0, static_cast<size_t>(channels_) * channel_stride_ * sizeof(double));
  for (int k = 0; k < n_mixing_; ++k)
    for (int b = 0; b < channels_; ++b) {
      const double v = k < k3 ? m_.triplet_channel_radial[static_cast<size_t>(k) * channels_ + b]
                              : m_.channel_radial[static_cast<size_t>(k - k3) * channels_ + b];
      from[static_cast<size_t>(b) * channel_stride_ + k] = to[static_cast<size_t>(k) * channels_ + b] = v;
    }
  if (m_.mixed_triplet) {
    const size_t rows = static_cast<size_t>(ns_) * (L + 1) * k3;
    double* table = mixed_table_.reserve(rows * channel_stride_);
    memset(table, 0, rows * channel_stride_ * sizeof(double));
    for (size_t row = 0; row < rows; ++row)
      memcpy(table + row * channel_stride_, m_.mixed_triplet + row * k3, k3 * sizeof(double));
  }
  if (m_.rank > 0) {
    live_channel_density_.reserve(static_cast<size_t>(Q) * n_mixing_);
    live_channel_response_.reserve(static_cast<size_t>(Q) * n_mixing_ * kRankVectors);
    live_unmixing_.reserve(static_cast<size_t>(n_mixing_) * channels_);
    for (int a = 0; a < n_mixing_ * channels_; ++a) live_unmixing_[a] = static_cast<float>(to[a]);
  }
}

// out_q = or += sum_b in_q[b] row_b for harmonics q from First on; lanes = columns of `out`, as many as `stride`. The rows that
// count are the first `used` of every `group`.
template <int First, bool Add>
TREPID_INLINE void combine(const double* matrix, int stride, int n_groups, int group, int used, const double* in,
                           int in_stride, double* out) {
  constexpr int n = Q - First < kAccumulators ? Q - First : kAccumulators;
  for (int a = 0; a < stride; a += kLanes) {
    Vd total[n] = {};
    for (int g = 0; g < n_groups; ++g)
      for (int b = g * group; b < g * group + used; ++b) {
        const Vd row = *reinterpret_cast<const Vd*>(matrix + static_cast<size_t>(b) * stride + a);
#pragma GCC unroll 32
        for (int q = 0; q < n; ++q) total[q] += row * in[static_cast<size_t>(First + q) * in_stride + b];
      }
#pragma GCC unroll 32
    for (int q = 0; q < n; ++q) {
      Vd* to = reinterpret_cast<Vd*>(out + static_cast<size_t>(First + q) * stride + a);
      *to = Add ? *to + total[q] : total[q];
    }
  }
  if constexpr (First + n < Q) combine<First + n, Add>(matrix, stride, n_groups, group, used, in, in_stride, out);
}

// Channel densities of the centre at hand, without the means of the quadruplets.
void mix() {
  double* a = w_->channel_density.data();
  combine<0, false>(mixing_.data(), channel_stride_, ns_, kp_, k_, w_->density.data(), channels_, a);
  scale_by_roots(a);
}

// Derivatives with respect to the channels of the centre at hand to those with respect to its densities.
void unmix() {
  double* z = w_->channel_response.data();
  scale_by_roots(z);
  if (m_.mixed_triplet)
    combine<0, false>(unmixing_.data(), channels_, 1, 0, n_mixing_, z, channel_stride_, w_->response.data());
  else
    combine<0, true>(unmixing_.data(), channels_, 1, 0, n_mixing_, z, channel_stride_, w_->response.data());
}

void scale_by_roots(double* values) const {
  for (int q = 0; q < Q; ++q)
    for (int k = 0; k < channel_stride_; k += kLanes)
      *reinterpret_cast<Vd*>(values + static_cast<size_t>(q) * channel_stride_ + k) *= root_weight_[q];
}

// Energy of the mixed triplets of the centre at hand; sets its channel responses, those of the quadruplets to zero.
double mixed_triplets(int si) {
  const size_t per_species = static_cast<size_t>(L + 1) * m_.n_triplet_channels * channel_stride_;
  return m_.mixed_triplet ? sum(mixed_degree<0>(mixed_table_.data() + si * per_species)) : clear_response();
}

double clear_response() {
  memset(w_->channel_response.data(), 0, static_cast<size_t>(Q) * channel_stride_ * sizeof(double));
  return 0;
}

template <int l>
TREPID_INLINE Vd mixed_degree(const double* table) {
  const double* a = w_->channel_density.data() + static_cast<size_t>(l * l) * channel_stride_;
  double* z = w_->channel_response.data() + static_cast<size_t>(l * l) * channel_stride_;
  Vd energy{};
  for (int k = 0; k < channel_stride_; k += kLanes) {
    Vd total[2 * l + 1] = {};
    for (int b = 0; b < m_.n_triplet_channels; ++b) {
      const Vd row = *reinterpret_cast<const Vd*>(table + static_cast<size_t>(b) * channel_stride_ + k);
#pragma GCC unroll 17
      for (int m = 0; m < 2 * l + 1; ++m) total[m] += row * a[static_cast<size_t>(m) * channel_stride_ + b];
    }
#pragma GCC unroll 17
    for (int m = 0; m < 2 * l + 1; ++m) {
      energy += total[m] * *reinterpret_cast<const Vd*>(a + static_cast<size_t>(m) * channel_stride_ + k);
      *reinterpret_cast<Vd*>(z + static_cast<size_t>(m) * channel_stride_ + k) = 2.0 * total[m];
    }
  }
  if constexpr (l < L)
    energy += mixed_degree<l + 1>(table + static_cast<size_t>(m_.n_triplet_channels) * channel_stride_);
  return energy;
}

// ---- one block of live directions, lanes = directions

// Derivatives of all directions with respect to the densities: sets live_response_ with mixed triplets, else adds to it.
void live_channels(int si, int block) {
  constexpr int V = kRankVectors;
  for (int q = 0; q < Q; ++q)
    for (int k = 0; k < n_mixing_; ++k)
      live_channel_density_[q * n_mixing_ + k] =
          static_cast<float>(w_->channel_density[static_cast<size_t>(q) * channel_stride_ + k]);
  Vf* z = live_channel_response_.data();
  for (int a = 0; a < Q * n_mixing_ * V; ++a) z[a] = Vf{};
  if (m_.mixed_triplet) {
    const size_t per_species = mixed_size(1, L, m_.n_triplet_channels);
    live_mixed<0>(m_.mixed_triplet_live + si * per_species * m_.rank + block * kRankBlock);
  }
  if (m_.quadruplet) live_quadruplets(si, block);
  for (int q = 0; q < Q; ++q)
    for (int first = 0; first < channels_; first += kChannelBlock / V) live_unmix(q, first);
}

template <int l>
void live_mixed(const float* table) {
  const int n = m_.n_triplet_channels;
  for (int k = 0; k < n; ++k) live_mixed_chunk<l, 0>(table + static_cast<size_t>(k) * n * m_.rank, k);
  if constexpr (l < L) live_mixed<l + 1>(table + static_cast<size_t>(n) * n * m_.rank);
}

// Orders m in chunks whose sums fit the registers, as in live_contract_chunk.
template <int l, int First>
TREPID_INLINE void live_mixed_chunk(const float* row, int k) {
  constexpr int V = kRankVectors, n_orders = 2 * l + 1, fitting = V == 1 ? n_orders : 10 / V > 0 ? 10 / V : 1;
  constexpr int n = n_orders - First < fitting ? n_orders - First : fitting;
  const float* a = live_channel_density_.data() + (l * l + First) * n_mixing_;
  Vf total[n][V] = {};
  for (int b = 0; b < m_.n_triplet_channels; ++b)
#pragma GCC unroll 17
    for (int m = 0; m < n; ++m)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) total[m][v] += *at(row + static_cast<size_t>(b) * m_.rank, v) * (2 * a[m * n_mixing_ + b]);
#pragma GCC unroll 17
  for (int m = 0; m < n; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v)
      live_channel_response_[(static_cast<size_t>(l * l + First + m) * n_mixing_ + k) * V + v] = total[m][v];
  if constexpr (First + n < n_orders) live_mixed_chunk<l, First + n>(row, k);
}

// The densities from `first` on of harmonic q.
TREPID_INLINE void live_unmix(int q, int first) {
  constexpr int V = kRankVectors, n = kChannelBlock / V;
  Vf total[n][V] = {};
  const float root = static_cast<float>(root_weight_[q]);
  for (int k = 0; k < n_mixing_; ++k) {
    const Vf* z = live_channel_response_.data() + (static_cast<size_t>(q) * n_mixing_ + k) * V;
    const float* v_k = live_unmixing_.data() + static_cast<size_t>(k) * channels_ + first;
#pragma GCC unroll 8
    for (int a = 0; a < n; ++a)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) total[a][v] += z[v] * (root * v_k[a]);
  }
  float* to = live_response_.data() + (static_cast<size_t>(q) * (channels_ + 4) + first) * kRankBlock;
#pragma GCC unroll 8
  for (int a = 0; a < n; ++a)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v)
      *at(to + a * kRankBlock, v) = m_.mixed_triplet ? total[a][v] : *at(to + a * kRankBlock, v) + total[a][v];
}
