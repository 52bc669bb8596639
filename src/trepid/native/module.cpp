// The Python module trepid._native: neighbours, the evaluator of a trained model, and feature rows for training.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "dispatch.h"
#include "features.h"
#include "nearby.h"
#include "neighbours.h"
#include "sha256.h"

namespace nb = nanobind;
using namespace trepid;

template <class T, class... Shape>
using In = nb::ndarray<const T, Shape..., nb::c_contig, nb::device::cpu>;
using Points = In<double, nb::shape<-1, 3>>;
using Cell = In<double, nb::shape<3, 3>>;

template <class T>
static nb::ndarray<nb::numpy, T> array(std::vector<T>&& values, std::initializer_list<size_t> shape) {
  auto* owned = new std::vector<T>(std::move(values));
  nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return nb::ndarray<nb::numpy, T>(owned->data(), shape, owner);
}

template <class T>
using Flat = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;

// Numbers of an array or of a pickle.
template <class T>
struct Values {
  Values(const Flat<T>& from) : data(from.data()), size(from.size()) {}
  Values(const nb::bytes& from)
      : data(reinterpret_cast<const T*>(from.c_str())), size(from.size() / sizeof(T)) {}

  void require(size_t expected, const char* name) const {
    if (size != expected)
      throw std::invalid_argument(std::string(name) + " has " + std::to_string(size) + " numbers instead of " +
                                  std::to_string(expected));
  }

  const T* data;
  size_t size;
};

template <class T>
static nb::bytes raw(const T* data, size_t size) {
  return nb::bytes(reinterpret_cast<const char*>(data), size * sizeof(T));
}

// 64-byte aligned copy, as the vector loads need.
template <class T>
class Aligned {
 public:
  void copy(const Values<T>& from, size_t size, const char* name) {
    from.require(size, name);
    data_.reset(static_cast<T*>(std::aligned_alloc(64, (size * sizeof(T) + 63) / 64 * 64 + 64)));
    if (!data_) throw std::bad_alloc();
    std::memcpy(data_.get(), from.data, size * sizeof(T));
    size_ = size;
  }
  const T* data() const { return data_.get(); }
  nb::bytes bytes() const { return raw(data_.get(), size_); }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
  size_t size_ = 0;
};

constexpr size_t kAtomsPerThread = 256;

class Evaluator {
 public:
  Evaluator(int n_species, int n_pair, int n_radial, int l_max, int rank, double r_min, double pair_cutoff,
            double triplet_cutoff, Values<double> offset, Values<double> pair, Values<double> triplet,
            Values<double> zbl, Values<float> pair_live, Values<float> triplet_live, Values<double> support_centre,
            Values<double> support_whitening, Values<double> support_offset,
            Values<double> triplet_channel_radial, Values<double> mixed_triplet, Values<float> mixed_triplet_live,
            Values<double> channel_radial, Values<double> channel_centre, Values<double> quadruplet,
            Values<float> quadruplet_live) {
    if (l_max < 0 || l_max > kMaxDegree)
      throw std::invalid_argument("l_max must lie between 0 and " + std::to_string(kMaxDegree));
    if (rank < 0 || rank % kRankBlock)
      throw std::invalid_argument("rank must be a multiple of " + std::to_string(kRankBlock));
    model_ = Model{n_species,      n_pair,  n_radial, l_max,   rank,    r_min,   pair_cutoff,
                   triplet_cutoff, nullptr, nullptr,  nullptr, nullptr, nullptr, nullptr};
    const size_t ns = n_species, channels = n_channels(model_), block = (l_max + 1) * channels * channels;
    offset_.copy(offset, ns, "offset");
    pair_.copy(pair, ns * ns * (n_pair + 3), "pair");
    const bool mixed = mixed_triplet.size > 0;
    triplet_.copy(triplet, mixed ? 0 : ns * block, "triplet");
    pair_live_.copy(pair_live, ns * ns * (n_pair + 3) * rank, "pair_live");
    triplet_live_.copy(triplet_live, mixed ? 0 : ns * block * rank, "triplet_live");
    zbl.require(4 * ns * ns, "zbl");
    for (size_t k = 0; k < 4 * ns * ns; k += 4)
      zbl_.push_back(Zbl{zbl.data[k], zbl.data[k + 1], zbl.data[k + 2], zbl.data[k + 3]});
    model_.offset = offset_.data(), model_.pair = pair_.data(), model_.triplet = triplet_.data(),
    model_.zbl = zbl_.data();
    model_.pair_live = pair_live_.data(), model_.triplet_live = triplet_live_.data();
    if (mixed) {
      const size_t k = triplet_channel_radial.size / channels, products = mixed_size(n_species, l_max, k);
      triplet_channel_radial_.copy(triplet_channel_radial, k * channels, "triplet_channel_radial");
      mixed_triplet_.copy(mixed_triplet, products, "mixed_triplet");
      mixed_triplet_live_.copy(mixed_triplet_live, products * rank, "mixed_triplet_live");
      model_.n_triplet_channels = static_cast<int>(k);
      model_.triplet_channel_radial = triplet_channel_radial_.data(), model_.mixed_triplet = mixed_triplet_.data();
      model_.mixed_triplet_live = mixed_triplet_live_.data();
    }
    if (quadruplet.size > 0) {
      const size_t products = ns * quadruplet_size(l_max);
      channel_radial_.copy(channel_radial, kQuadrupletChannels * channels, "channel_radial");
      channel_centre_.copy(channel_centre, ns * kQuadrupletChannels, "channel_centre");
      quadruplet_.copy(quadruplet, products, "quadruplet");
      quadruplet_live_.copy(quadruplet_live, products * rank, "quadruplet_live");
      model_.channel_radial = channel_radial_.data(), model_.channel_centre = channel_centre_.data();
      model_.quadruplet = quadruplet_.data();
      if (rank > 0) model_.quadruplet_live = quadruplet_live_.data();
    }
    if (support_centre.size + support_whitening.size + support_offset.size == 0) return;
    const size_t powers = n_powers(model_);
    support_centre_.copy(support_centre, ns * powers, "support_centre");
    support_whitening_.copy(support_whitening, ns * powers * powers, "support_whitening");
    support_offset_.copy(support_offset, ns, "support_offset");
    model_.support_centre = support_centre_.data(), model_.support_whitening = support_whitening_.data();
    model_.support_offset = support_offset_.data();
  }
  Evaluator(const Evaluator&) = delete;
  Evaluator& operator=(const Evaluator&) = delete;
  ~Evaluator() {
    for (void* k : kernels_) best_kernel().destroy(k);
  }

  // The arguments of the constructor, arrays as bytes.
  nb::tuple state() const {
    static_assert(sizeof(Zbl) == 4 * sizeof(double), "Zbl is four numbers");
    const Model& m = model_;
    return nb::make_tuple(m.n_species, m.n_pair, m.n_radial, m.l_max, m.rank, m.r_min, m.pair_cutoff, m.triplet_cutoff,
                          offset_.bytes(), pair_.bytes(), triplet_.bytes(),
                          raw(reinterpret_cast<const double*>(zbl_.data()), 4 * zbl_.size()), pair_live_.bytes(),
                          triplet_live_.bytes(), support_centre_.bytes(), support_whitening_.bytes(),
                          support_offset_.bytes(), triplet_channel_radial_.bytes(), mixed_triplet_.bytes(),
                          mixed_triplet_live_.bytes(), channel_radial_.bytes(), channel_centre_.bytes(),
                          quadruplet_.bytes(), quadruplet_live_.bytes());
  }

  nb::tuple compute(const Neighbours& neighbours, bool with_live, bool with_support, int n_threads) {
    const size_t n = neighbours.n_atoms(), live_size = with_live ? 3 * n * model_.rank : 0;
    if (with_live && model_.rank == 0) throw std::invalid_argument("this model has no live directions");
    if (with_support && !model_.support_centre) throw std::invalid_argument("this model has no support data");
    if (n_threads < 1) throw std::invalid_argument("n_threads must be at least 1");
    // A thread pays off above some number of atoms only, more so when the cores are busy with other work.
    const int threads = static_cast<int>(std::max<size_t>(1, std::min<size_t>(n_threads, n / kAtomsPerThread)));
    std::vector<double> forces(3 * n), atom_energies(n), strain(6), variance(with_live ? 3 * n : 0),
        support(with_support ? n : 0);
    double energy = 0;
    {
      nb::gil_scoped_release release;
      const std::lock_guard<std::mutex> alone(scratch_);
      while (static_cast<int>(kernels_.size()) < threads) kernels_.push_back(best_kernel().make(model_));
      if (static_cast<int>(parts_.size()) < threads) parts_.resize(threads);
      const System system = neighbours.system();
#pragma omp parallel for num_threads(threads) schedule(static, 1)
      for (int t = 0; t < threads; ++t) {
        Part& p = parts_[t];
        p.numbers.assign(4 * n + 6, 0.0);
        p.reserve_live(live_size);
        Output out{0,       p.numbers.data() + 3 * n,          p.numbers.data(), p.numbers.data() + 4 * n,
                   nullptr, with_live ? p.live.get() : nullptr};
        if (with_support) out.support = support.data();  // every atom is the centre of one thread
        best_kernel().compute(kernels_[t], system, static_cast<int>(n * t / threads),
                              static_cast<int>(n * (t + 1) / threads), out);
        p.energy = out.energy;
      }
      for (int t = 0; t < threads; ++t) {
        const Part& p = parts_[t];
        energy += p.energy;
        for (size_t k = 0; k < 3 * n; ++k) forces[k] += p.numbers[k];
        for (size_t k = 0; k < n; ++k) atom_energies[k] += p.numbers[3 * n + k];
        for (int v = 0; v < 6; ++v) strain[v] += p.numbers[4 * n + v];
        if (t > 0)
          for (size_t k = 0; k < live_size; ++k) parts_[0].live.get()[k] += p.live.get()[k];
      }
      for (size_t k = 0; with_live && k < 3 * n; ++k) {
        const float* f = parts_[0].live.get() + k * model_.rank;
        float sum = 0;
        for (int r = 0; r < model_.rank; ++r) sum += f[r] * f[r];
        variance[k] = sum;
      }
    }
    return nb::make_tuple(energy, array(std::move(forces), {n, 3}), array(std::move(strain), {6}),
                          array(std::move(atom_energies), {n}),
                          with_live ? nb::cast(array(std::move(variance), {n, 3})) : nb::none(),
                          with_support ? nb::cast(array(std::move(support), {n})) : nb::none());
  }

  nb::ndarray<nb::numpy, double> powers(const Neighbours& neighbours) {
    const size_t n = neighbours.n_atoms(), width = n_powers(model_);
    std::vector<double> forces(3 * n), found(n * width);
    {
      nb::gil_scoped_release release;
      const std::lock_guard<std::mutex> alone(scratch_);
      if (kernels_.empty()) kernels_.push_back(best_kernel().make(model_));
      Output out{0, nullptr, forces.data(), nullptr, nullptr, nullptr};
      out.powers = found.data();
      best_kernel().compute(kernels_[0], neighbours.system(), 0, static_cast<int>(n), out);
    }
    return array(std::move(found), {n, width});
  }

  // Energy, forces and virial of every atom; see Output::atom_virial.
  nb::tuple atom_virials(const Neighbours& neighbours) {
    const size_t n = neighbours.n_atoms();
    std::vector<double> energies(n), forces(3 * n), virials(9 * n);
    {
      nb::gil_scoped_release release;
      const std::lock_guard<std::mutex> alone(scratch_);
      if (kernels_.empty()) kernels_.push_back(best_kernel().make(model_));
      Output out{0, energies.data(), forces.data(), nullptr, nullptr, nullptr};
      out.atom_virial = virials.data();
      best_kernel().compute(kernels_[0], neighbours.system(), 0, static_cast<int>(n), out);
    }
    return nb::make_tuple(array(std::move(energies), {n}), array(std::move(forces), {n, 3}),
                          array(std::move(virials), {n, 3, 3}));
  }

 private:
  struct Part {
    std::vector<double> numbers;  // forces, atom energies, strain derivative
    double energy = 0;
    std::unique_ptr<float, void (*)(void*)> live{nullptr, std::free};
    size_t live_capacity = 0;
    void reserve_live(size_t n) {
      if (n > live_capacity) {
        live.reset(static_cast<float*>(std::aligned_alloc(64, (n * sizeof(float) + 63) / 64 * 64)));
        if (!live) throw std::bad_alloc();
        live_capacity = n;
      }
      if (n) std::memset(live.get(), 0, n * sizeof(float));
    }
  };
  Model model_;
  Aligned<double> offset_, pair_, triplet_, support_centre_, support_whitening_, support_offset_,
      triplet_channel_radial_, mixed_triplet_, channel_radial_, channel_centre_, quadruplet_;
  Aligned<float> pair_live_, triplet_live_, mixed_triplet_live_, quadruplet_live_;
  std::vector<Zbl> zbl_;
  std::mutex scratch_;  // kernels_ and parts_ serve one Python thread at a time
  std::vector<void*> kernels_;
  std::vector<Part> parts_;
};

static std::vector<double> checked(const Values<double>& from, size_t size, const char* name) {
  from.require(size, name);
  return {from.data, from.data + from.size};
}

// Feature rows with their scratch memory kept to one Python thread at a time.
class SharedFeatureRows : public FeatureRows {
 public:
  using Numbers = std::tuple<int, int, int, int, double, double, double>;
  using Arguments =
      std::tuple<int, int, int, int, double, double, double, int, nb::bytes, int, nb::bytes, nb::bytes>;
  SharedFeatureRows(int n_species, int n_pair, int n_radial, int l_max, double r_min, double pair_cutoff,
                    double triplet_cutoff, int n_triplet_channels, Values<double> triplet_channel_radial, int n_channels,
                    Values<double> channel_radial, Values<double> channel_centre)
      : FeatureRows(n_species, n_pair, n_radial, l_max, r_min, pair_cutoff, triplet_cutoff, n_triplet_channels,
                    checked(triplet_channel_radial, static_cast<size_t>(n_triplet_channels) * n_species * n_radial,
                            "triplet_channel_radial"),
                    n_channels,
                    checked(channel_radial, static_cast<size_t>(n_channels) * n_species * n_radial, "channel_radial"),
                    checked(channel_centre, static_cast<size_t>(n_species) * n_channels, "channel_centre")),
        numbers_(n_species, n_pair, n_radial, l_max, r_min, pair_cutoff, triplet_cutoff),
        n_triplet_channels_(n_triplet_channels),
        n_channels_(n_channels),
        triplet_channel_radial_(copied(triplet_channel_radial)),
        channel_radial_(copied(channel_radial)),
        channel_centre_(copied(channel_centre)) {}
  // What the constructor got, for a pickle.
  Arguments arguments() const {
    return std::tuple_cat(numbers_, std::make_tuple(n_triplet_channels_, bytes(triplet_channel_radial_), n_channels_,
                                                    bytes(channel_radial_), bytes(channel_centre_)));
  }
  std::mutex scratch;

 private:
  static std::vector<double> copied(const Values<double>& from) { return {from.data, from.data + from.size}; }
  static nb::bytes bytes(const std::vector<double>& values) { return raw(values.data(), values.size()); }

  Numbers numbers_;
  int n_triplet_channels_, n_channels_;
  std::vector<double> triplet_channel_radial_, channel_radial_, channel_centre_;
};

// Neighbours as a pickle: positions at which the list was built and those of now, so that a copy continues with the same
// list and gives the same bits.
static nb::dict neighbours_state(const Neighbours& self) {
  nb::dict out;
  self.each_field([&](const char* name, const auto& field) { out[name] = raw(field.data(), field.size()); });
  return out;
}

static void restore_neighbours(Neighbours& self, const nb::dict& state) {
  new (&self) Neighbours();
  self.each_field([&](const char* name, auto& field) {
    using Number = typename std::decay_t<decltype(field)>::value_type;
    const nb::bytes bytes = nb::cast<nb::bytes>(state[name]);
    const auto* data = reinterpret_cast<const Number*>(bytes.c_str());
    field.assign(data, data + bytes.size() / sizeof(Number));
  });
  self.restored();
}

static nb::tuple feature_rows(SharedFeatureRows& features, const Neighbours& neighbours, In<int, nb::ndim<1>> rows,
                              bool with_energy, bool with_forces, bool with_strain) {
  const size_t size = features.size(), n = neighbours.n_atoms();
  if (rows.size() != n) throw std::invalid_argument("rows must name one row per atom");
  size_t n_rows = 0;
  for (size_t i = 0; i < n; ++i) n_rows = std::max<size_t>(n_rows, rows.data()[i] + 1);
  std::vector<double> energy(with_energy ? size : 0), forces(with_forces ? 3 * n_rows * size : 0),
      strain(with_strain ? 6 * size : 0);
  {
    nb::gil_scoped_release release;
    const std::lock_guard<std::mutex> alone(features.scratch);
    System system = neighbours.system();
    std::vector<int> target(n + neighbours.n_ghosts());
    for (size_t k = 0; k < target.size(); ++k) target[k] = rows.data()[system.target[k]];
    system.target = target.data();
    features.add(system, static_cast<int>(n), with_energy ? energy.data() : nullptr,
                 with_forces ? forces.data() : nullptr, with_strain ? strain.data() : nullptr);
  }
  return nb::make_tuple(with_energy ? nb::cast(array(std::move(energy), {size})) : nb::none(),
                        with_forces ? nb::cast(array(std::move(forces), {3 * n_rows, size})) : nb::none(),
                        with_strain ? nb::cast(array(std::move(strain), {6, size})) : nb::none());
}

NB_MODULE(_native, m) {
  m.doc() = "C++ core of trepid: neighbours with explicit images, evaluation of a trained model, feature rows.";
  m.attr("channel_block") = kChannelBlock;
  m.attr("rank_block") = kRankBlock;
  m.attr("max_degree") = kMaxDegree;
  m.attr("quadruplet_channels") = kQuadrupletChannels;
  m.attr("neighbour_share") = kNeighbourShare;
  m.def(
      "instruction_set", [] { return std::string(best_kernel().name); },
      "Build of the kernel in use: generic, avx2 or avx512.");
  m.def(
      "max_threads",
      [] {
#ifdef _OPENMP
        return omp_get_max_threads();
#else
        return 1;
#endif
      },
      "Threads OpenMP would use (OMP_NUM_THREADS); 1 without OpenMP.");

  m.def(
      "sha256",
      [](nb::bytes data) {
        Sha256 sum;
        sum.add(data.c_str(), data.size());
        return Sha256::hex(sum.finish());
      },
      nb::arg("data"), "SHA-256 as pair_style trepid computes it, in hexadecimal digits.");

  nb::class_<Neighbours>(m, "Neighbours", "Full neighbour list with explicit periodic images and a skin.")
      .def(
          "__init__",
          [](Neighbours* self, Points positions, Cell cell, In<int, nb::ndim<1>> species,
             In<int64_t, nb::shape<-1, 2>> pairs, In<int32_t, nb::shape<-1, 3>> shifts, double cutoff, double skin) {
            if (species.size() != positions.shape(0) || pairs.shape(0) != shifts.shape(0))
              throw std::invalid_argument("array lengths do not match");
            new (self) Neighbours(static_cast<int>(positions.shape(0)), positions.data(), cell.data(), species.data(),
                                  pairs.shape(0), pairs.data(), shifts.data(), cutoff, skin);
          },
          nb::arg("positions"), nb::arg("cell"), nb::arg("species"), nb::arg("pairs"), nb::arg("shifts"),
          nb::arg("cutoff"), nb::arg("skin"))
      .def(
          "move",
          [](Neighbours& self, Points positions, Cell cell) {
            if (static_cast<int>(positions.shape(0)) != self.n_atoms()) return false;
            return self.move(positions.data(), cell.data());
          },
          nb::arg("positions"), nb::arg("cell"), "Move atoms and images; False when the list must be built anew.")
      .def(
          "nearby_mean",
          [](const Neighbours& self, In<double, nb::ndim<1>> values, double range) {
            if (static_cast<int>(values.size()) != self.n_atoms()) throw std::invalid_argument("one value per atom is needed");
            std::vector<double> means(self.n_atoms());
            nearby_mean(self.system(), 0, self.n_atoms(), values.data(), range, means.data());
            const size_t n = means.size();
            return array(std::move(means), {n});
          },
          nb::arg("values"), nb::arg("range"),
          "Mean of the values of the neighbours within the range, weighted by (1 - r / range)^2, (n,).")
      .def("__getstate__", &neighbours_state)
      .def("__setstate__", &restore_neighbours)
      .def_prop_ro("n_atoms", &Neighbours::n_atoms)
      .def_prop_ro("n_ghosts", &Neighbours::n_ghosts)
      .def_prop_ro("n_pairs", &Neighbours::n_pairs);

  nb::class_<Evaluator>(m, "Evaluator", "A trained model, ready to be evaluated.")
      .def(
          "__init__",
          [](Evaluator* self, int n_species, int n_pair, int n_radial, int l_max, int rank, double r_min,
             double pair_cutoff, double triplet_cutoff, Flat<double> offset, Flat<double> pair, Flat<double> triplet,
             Flat<double> zbl, Flat<float> pair_live, Flat<float> triplet_live, Flat<double> support_centre,
             Flat<double> support_whitening, Flat<double> support_offset, Flat<double> triplet_channel_radial,
             Flat<double> mixed_triplet, Flat<float> mixed_triplet_live, Flat<double> channel_radial,
             Flat<double> channel_centre, Flat<double> quadruplet, Flat<float> quadruplet_live) {
            new (self) Evaluator(n_species, n_pair, n_radial, l_max, rank, r_min, pair_cutoff, triplet_cutoff, offset,
                                 pair, triplet, zbl, pair_live, triplet_live, support_centre, support_whitening,
                                 support_offset, triplet_channel_radial, mixed_triplet, mixed_triplet_live,
                                 channel_radial, channel_centre, quadruplet, quadruplet_live);
          },
           nb::kw_only(), nb::arg("n_species"), nb::arg("n_pair"), nb::arg("n_radial"), nb::arg("l_max"),
           nb::arg("rank"), nb::arg("r_min"), nb::arg("pair_cutoff"), nb::arg("triplet_cutoff"), nb::arg("offset"),
           nb::arg("pair"), nb::arg("triplet"), nb::arg("zbl"), nb::arg("pair_live"), nb::arg("triplet_live"),
           nb::arg("support_centre"), nb::arg("support_whitening"), nb::arg("support_offset"),
           nb::arg("triplet_channel_radial"), nb::arg("mixed_triplet"), nb::arg("mixed_triplet_live"),
           nb::arg("channel_radial"), nb::arg("channel_centre"), nb::arg("quadruplet"), nb::arg("quadruplet_live"))
      .def("__getstate__", &Evaluator::state)
      .def("__setstate__",
           [](Evaluator& self, nb::tuple s) {
             const auto integer = [&](int k) { return nb::cast<int>(s[k]); };
             const auto number = [&](int k) { return nb::cast<double>(s[k]); };
             const auto bytes = [&](int k) { return nb::cast<nb::bytes>(s[k]); };
             new (&self) Evaluator(integer(0), integer(1), integer(2), integer(3), integer(4), number(5), number(6),
                                   number(7), bytes(8), bytes(9), bytes(10), bytes(11), bytes(12), bytes(13),
                                   bytes(14), bytes(15), bytes(16), bytes(17), bytes(18), bytes(19), bytes(20),
                                   bytes(21), bytes(22), bytes(23));
           })
      .def("compute", &Evaluator::compute, nb::arg("neighbours"), nb::arg("with_live"), nb::arg("with_support"),
           nb::arg("n_threads"),
           "Energy (eV), forces (n, 3), dE/dstrain (6,) in eV, atom energies (n,), force variance of the live "
           "directions (n, 3) or None, own distance of the atoms from the training data (n,) or None.")
      .def("atom_virials", &Evaluator::atom_virials, nb::arg("neighbours"),
           "Energies (n,), forces (n, 3) and sum_i (r_k - r_i) x d(e_i)/d(r_k) of every atom k (n, 3, 3), eV.")
      .def("powers", &Evaluator::powers, nb::arg("neighbours"),
           "Norms of the densities (n, (l_max + 1) * channels), padded channels included.");

  nb::class_<SharedFeatureRows>(m, "FeatureRows", "Derivatives of labels with respect to the raw coefficients.")
      .def(nb::init<int, int, int, int, double, double, double, int, Flat<double>, int, Flat<double>, Flat<double>>(),
           nb::kw_only(), nb::arg("n_species"), nb::arg("n_pair"), nb::arg("n_radial"), nb::arg("l_max"),
           nb::arg("r_min"), nb::arg("pair_cutoff"), nb::arg("triplet_cutoff"), nb::arg("n_triplet_channels"),
           nb::arg("triplet_channel_radial"), nb::arg("n_channels"), nb::arg("channel_radial"),
           nb::arg("channel_centre"))
      .def("__getstate__", &SharedFeatureRows::arguments)
      .def("__setstate__",
           [](SharedFeatureRows& self, const SharedFeatureRows::Arguments& s) {
             std::apply([&](const auto&... values) { new (&self) SharedFeatureRows(values...); }, s);
           })
      .def_prop_ro("size", &SharedFeatureRows::size)
      .def("compute", &feature_rows, nb::arg("neighbours"), nb::arg("rows"), nb::arg("with_energy"),
           nb::arg("with_forces"), nb::arg("with_strain"),
           "Rows of energy (size,), forces (3 n_rows, size) and dE/dstrain (6, size); rows[i] is the force row block "
           "of atom i, or -1.");
}
