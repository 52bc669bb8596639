// The part of Kernel<L> that tells how far a neighbourhood is from those of the training data: a quadratic form in the
// norms of the densities, which the mean needs anyway. Included inside the class body of kernel.h.
//
//   p_la = sqrt(sum_m w_lm A_lm,a^2)                               norm of channel a at degree l
//   d_i  = sqrt(|W_s (p - c_s)|^2 + offset_s)                       own distance, s the species of the centre
//
// The support distance is the larger of d_i and the mean of d around, which comes after all centres (nearby.h).

// Norms of the centre at hand, [L + 1][channels], into powers_.
void norm_densities(int n_triplet) {
  const int vectors = channels_ / kLanes;
  Vd* out = reinterpret_cast<Vd*>(powers_.data());
  for (int l = 0; l <= L; ++l)
    for (int v = 0; v < vectors; ++v) {
      Vd squares{};
      for (int q = l * l; n_triplet > 0 && q < (l + 1) * (l + 1); ++q) {
        const Vd a = *reinterpret_cast<const Vd*>(w_->density.data() + static_cast<size_t>(q) * channels_ + v * kLanes);
        squares += weight_[q] * a * a;
      }
      out[l * vectors + v] = root(squares);
    }
}

double own_distance(int si) const {
  const int n = n_powers(m_);
  const double *centre = m_.support_centre + static_cast<size_t>(si) * n,
               *whitening = m_.support_whitening + static_cast<size_t>(si) * n * n, *power = powers_.data();
  Vd squares{};
  for (int a = 0; a < n; a += kChannelBlock) {
    Vd y[kChannelVectors] = {};
    for (int b = 0; b < a + kChannelBlock; ++b) {  // W is a triangle: [b][a] vanishes for a < b
      const double x = power[b] - centre[b];
      const Vd* row = reinterpret_cast<const Vd*>(whitening + static_cast<size_t>(b) * n + a);
      for (int v = 0; v < kChannelVectors; ++v) y[v] += row[v] * x;
    }
    for (int v = 0; v < kChannelVectors; ++v) squares += y[v] * y[v];
  }
  return __builtin_sqrt(sum(squares) + m_.support_offset[si]);
}
