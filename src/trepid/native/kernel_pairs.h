// The part of Kernel<L> that goes through the neighbour list of a centre, once: pair energies and repulsion of what
// is inside the cutoffs, and the neighbours that triplets are made of, sorted by species. Included inside the class
// body of kernel.h.

// Half of every pair energy of the centre; the whole force of the pair on the centre (the neighbour adds its own).
template <bool WithStrain>
double gather(const System& system, int i, int si, double force[3], double strain[6], bool with_live) {
  const int n = system.n_neighbours[i];
  const int* list = system.neighbours[i];
  reserve_neighbours(n);
  const double reach = m_.pair_cutoff > m_.triplet_cutoff ? m_.pair_cutoff : m_.triplet_cutoff;
  const Vd reach2 = splat(reach * reach), last = splat(m_.n_pair), zero{};
  const double triplet2 = m_.triplet_cutoff * m_.triplet_cutoff, repulsion2 = zbl_reach2_[si];
  const double* x = system.positions;
  const Vd xi = splat(x[3 * static_cast<size_t>(i)]), yi = splat(x[3 * static_cast<size_t>(i) + 1]),
           zi = splat(x[3 * static_cast<size_t>(i) + 2]);
  const double* table = pair_table_.data() + static_cast<size_t>(si) * ns_ * m_.n_pair * kCellCoefficients;
  Vd energy{}, fx{}, fy{}, fz{}, strains[WithStrain ? 6 : 1] = {};
  double repelled = 0;
  const int room = w_->capacity + kLanes;  // far neighbours are collected that much further on
  w_->n_pairs = 0;
  for (int s = 0; s < ns_; ++s) w_->segments[s].n = w_->segments[s].n_near = 0;
  for (int k = 0; k < n; k += kLanes) {
    const int left = n - k < kLanes ? n - k : kLanes;
    const Vi j = load_some(list + k, left, 0) & system.neighbour_mask;
    Vd d[3];
    load_rows<3>(x, j, 3, d);
    const Vd dx = d[0] - xi, dy = d[1] - yi, dz = d[2] - zi;
    Vd r2 = dx * dx + dy * dy + dz * dz;
    for (int a = left; a < kLanes; ++a) r2[a] = reach2[a];
    const unsigned inside = bits(r2 < reach2);
    if (inside == 0) continue;
    r2 = smaller(r2, reach2);  // what is outside is moved to the cutoff, where every function is zero
    const Vd r = root(r2), inverse = 1.0 / r, t = smaller((r - m_.r_min) * pair_step_, last), within = larger(t, zero);
    const Vi cell = cell_of(within, m_.n_pair);
    Vi row = cell, species{};
    if (ns_ > 1) {
      for (int a = 0; a < kLanes; ++a) species[a] = a < left ? species_of(system, j[a]) : 0;
      row += species * m_.n_pair;
    }
    Vd c[kCellCoefficients];
    load_rows<kCellCoefficients>(table, row, kCellCoefficients, c);
    const Vd u = within - __builtin_convertvector(cell, Vd);
    const Vd slope = c[1] + u * (2 * c[2] + u * 3 * c[3]);
    energy += c[0] + u * (c[1] + u * (c[2] + u * c[3])) + (t - within) * slope;
    Vd slope_over_r = slope * pair_step_ * inverse;
    for (unsigned near = bits(r2 < repulsion2); near; near &= near - 1) {
      const int a = __builtin_ctz(near);
      double pull = 0;
      repelled += repulsion(m_.zbl[si * ns_ + species[a]], r[a], &pull);
      slope_over_r[a] += pull;
    }
    fx += slope_over_r * dx, fy += slope_over_r * dy, fz += slope_over_r * dz;
    if constexpr (WithStrain) {
      // A copy that is opaque to the compiler: products shared with the sums above would round those another way, and a
      // step with the stress would differ from one without it.
      Vd weight = slope_over_r;
      asm("" : "+m"(weight));
      const Vd px = weight * dx, py = weight * dy, pz = weight * dz;
      strains[0] += px * dx, strains[1] += py * dy, strains[2] += pz * dz;
      strains[3] += py * dz, strains[4] += px * dz, strains[5] += px * dy;
    }
    const unsigned three = bits(r2 < triplet2), far = bits(r2 >= far2_);
    if (three)
      for (int s = 0; s < ns_; ++s) {
        const unsigned of_species = ns_ > 1 ? three & bits_equal(species, s) : three;
        Segment& g = w_->segments[s];
        double *const near_to[4] = {g.dx, g.dy, g.dz, g.r2}, *const far_to[4] = {g.dx + room, g.dy + room, g.dz + room,
                                                                                 g.r2 + room};
        const Vd found[4] = {dx, dy, dz, r2};
        g.n_near = append(near_to, g.index, g.n_near, of_species & ~far, found, j);
        g.n = append(far_to, g.index + room, g.n, of_species & far, found, j);
      }
    if (with_live) {
      double* const to[5] = {w_->pair_dx.data(), w_->pair_dy.data(), w_->pair_dz.data(), w_->pair_r.data(), w_->pair_inverse.data()};
      w_->n_pairs = append(to, w_->pair_species.data(), w_->n_pairs, inside, {dx, dy, dz, r, inverse}, species);
    }
  }
  force[0] += sum(fx), force[1] += sum(fy), force[2] += sum(fz);
  if constexpr (WithStrain)
    for (int v = 0; v < 6; ++v) strain[v] += 0.5 * sum(strains[v]);
  close_segments();
  return 0.5 * (sum(energy) + repelled);
}

// Puts the far neighbours behind the near ones and fills the last block with neighbours at the cutoff, where every
// spline is zero.
void close_segments() {
  const int room = w_->capacity + kLanes;
  const double triplet2 = m_.triplet_cutoff * m_.triplet_cutoff;
  int block = 0;
  for (int s = 0; s < ns_; ++s) {
    Segment& g = w_->segments[s];
    for (int k = 0; k < g.n; k += kLanes) {
      const int to = g.n_near + k;
      copy_lanes(g.dx + to, g.dx + room + k), copy_lanes(g.dy + to, g.dy + room + k);
      copy_lanes(g.dz + to, g.dz + room + k), copy_lanes(g.r2 + to, g.r2 + room + k);
      *reinterpret_cast<Viu*>(g.index + to) = *reinterpret_cast<const Viu*>(g.index + room + k);
    }
    g.n += g.n_near;
    g.first_block = block;
    g.n_blocks = (g.n + kLanes - 1) / kLanes;
    block += g.n_blocks;
    *reinterpret_cast<Vdu*>(g.dx + g.n) = *reinterpret_cast<Vdu*>(g.dy + g.n) = Vd{};
    *reinterpret_cast<Vdu*>(g.dz + g.n) = splat(m_.triplet_cutoff);
    *reinterpret_cast<Vdu*>(g.r2 + g.n) = splat(triplet2);
  }
}

static TREPID_INLINE void copy_lanes(double* to, const double* from) {
  *reinterpret_cast<Vdu*>(to) = *reinterpret_cast<const Vdu*>(from);
}

// Ziegler-Biersack-Littmark repulsion, switched off by a quintic step; *slope_over_r gets dE/dr / r.
static double repulsion(const Zbl& z, double r, double* slope_over_r) {
  static const double amplitude[4] = {0.18175, 0.50986, 0.28022, 0.02817};
  static const double decay[4] = {3.19980, 0.94229, 0.40290, 0.20162};
  if (r >= z.outer) return 0;
  double screening = 0, screening_slope = 0;
  for (int a = 0; a < 4; ++a) {
    const double term = amplitude[a] * __builtin_exp(-decay[a] * r * z.inverse_length);
    screening += term;
    screening_slope -= decay[a] * z.inverse_length * term;
  }
  const double inverse = 1 / r, bare = z.prefactor * inverse * screening,
               bare_slope = z.prefactor * inverse * (screening_slope - screening * inverse);
  double step = 1, step_slope = 0;
  if (r > z.inner) {
    const double width = z.outer - z.inner, u = (r - z.inner) / width;
    step = 1 - u * u * u * (10 - u * (15 - 6 * u));
    step_slope = -30 * u * u * (1 - u) * (1 - u) / width;
  }
  *slope_over_r = (bare_slope * step + bare * step_slope) * inverse;
  return bare * step;
}
