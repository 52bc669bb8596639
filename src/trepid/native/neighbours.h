// Neighbours with explicit periodic images: every image within reach of an atom is a ghost with a parent and a lattice
// shift. The kernel then gets the same kind of list as inside LAMMPS. A skin keeps the list valid while atoms move a
// little.
#pragma once

#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <unordered_map>
#include <vector>

#include "model.h"

namespace trepid {

class Neighbours {
 public:
  // A full list of n_pairs pairs (i, j, shift) within cutoff + skin, for positions [n][3] in the cell (rows are
  // vectors).
  Neighbours(int n, const double* positions, const double* cell, const int* species, size_t n_pairs,
             const int64_t* pairs, const int32_t* shifts, double cutoff, double skin)
      : n_(n),
        box_(cell, cell + 9),
        reference_(positions, positions + 3 * static_cast<size_t>(n)),
        species_(species, species + n) {
    box_.insert(box_.end(), {cutoff, skin});
    count_.assign(n, 0);
    for (size_t p = 0; p < n_pairs; ++p) {
      const int64_t i = pairs[2 * p], j = pairs[2 * p + 1];
      if (i < 0 || i >= n || j < 0 || j >= n) throw std::invalid_argument("a neighbour index is out of range");
      ++count_[i];
    }
    start_.assign(n + 1, 0);
    for (int i = 0; i < n; ++i) start_[i + 1] = start_[i] + count_[i];
    list_.resize(n_pairs);
    target_.resize(n);
    for (int i = 0; i < n; ++i) target_[i] = i;
    std::vector<int64_t> next(start_.begin(), start_.end() - 1);
    std::unordered_map<Image, int, ImageHash> known;
    for (size_t p = 0; p < n_pairs; ++p) {
      const int i = static_cast<int>(pairs[2 * p]), j = static_cast<int>(pairs[2 * p + 1]);
      const Image image{j, shifts[3 * p], shifts[3 * p + 1], shifts[3 * p + 2]};
      int index = j;
      if (image.a || image.b || image.c) {
        const auto found = known.emplace(image, static_cast<int>(target_.size()));
        index = found.first->second;
        if (found.second) {
          target_.push_back(j);
          species_.push_back(species[j]);
          shift_.insert(shift_.end(), {image.a, image.b, image.c});
        }
      }
      list_[next[i]++] = index;
    }
    point();
    extended_.resize(3 * target_.size());
    place(positions, cell);
  }

  // To be filled by each_field, then restored().
  Neighbours() = default;

  // Calls f(name, vector) for all that a copy in another process needs.
  template <class F>
  void each_field(F&& f) const {
    visit(*this, f);
  }
  template <class F>
  void each_field(F&& f) {
    visit(*this, f);
  }

  // After the vectors were filled: the rest follows from them.
  void restored() {
    n_ = static_cast<int>(count_.size());
    if (box_.size() != 11 || start_.size() != count_.size() + 1 || species_.size() != target_.size() ||
        extended_.size() != 3 * target_.size() || reference_.size() != 3 * count_.size())
      throw std::invalid_argument("these are not the fields of a neighbour list");
    point();
  }

  int n_atoms() const { return n_; }
  int n_ghosts() const { return static_cast<int>(target_.size()) - n_; }
  size_t n_pairs() const { return list_.size(); }

  // Moves atoms and ghosts to new positions in a new cell. False when a pair from outside the list may have come within
  // the cutoff: with the homogeneous strain F and displacements d on top of it, no distance beyond cutoff + skin can
  // shrink below (cutoff + skin) (1 - |F - 1|) - 2 max |d|.
  bool move(const double* positions, const double* cell) {
    double deformation[9], stretch = 0;
    bool same_cell = true;
    for (int k = 0; k < 9; ++k) same_cell = same_cell && cell[k] == box_[k];
    if (!same_cell) {
      if (!deformation_gradient(cell, deformation)) return false;
      for (int r = 0; r < 3; ++r)
        for (int c = 0; c < 3; ++c) {
          const double e = deformation[3 * r + c] - (r == c);
          stretch += e * e;
        }
      stretch = std::sqrt(stretch);
    }
    const double allowed = ((cutoff() + skin()) * (1 - stretch) - cutoff()) / 2;
    if (!(allowed >= 0)) return false;
    for (int i = 0; i < n_; ++i) {
      double d2 = 0;
      for (int x = 0; x < 3; ++x) {
        double expected = reference_[3 * i + x];
        if (!same_cell) {
          expected = 0;
          for (int y = 0; y < 3; ++y) expected += reference_[3 * i + y] * deformation[3 * y + x];
        }
        const double d = positions[3 * i + x] - expected;
        d2 += d * d;
      }
      if (!(d2 <= allowed * allowed)) return false;  // NaN too
    }
    place(positions, cell);
    return true;
  }

  System system() const {
    return System{extended_.data(), species_.data(), nullptr,          target_.data(),
                  nullptr,          count_.data(),   pointers_.data(), 0x7fffffff};
  }

 private:
  struct Image {
    int atom, a, b, c;
    bool operator==(const Image& o) const { return atom == o.atom && a == o.a && b == o.b && c == o.c; }
  };
  struct ImageHash {
    size_t operator()(const Image& k) const {
      uint64_t h = static_cast<uint32_t>(k.atom);
      for (const int v : {k.a, k.b, k.c}) h = (h ^ static_cast<uint32_t>(v)) * 0x9e3779b97f4a7c15ull + (h >> 29);
      return static_cast<size_t>(h);
    }
  };

  double cutoff() const { return box_[9]; }
  double skin() const { return box_[10]; }

  template <class Self, class F>
  static void visit(Self& self, F& f) {
    f("box", self.box_), f("reference", self.reference_), f("extended", self.extended_), f("species", self.species_);
    f("target", self.target_), f("count", self.count_), f("list", self.list_), f("shift", self.shift_);
    f("start", self.start_);
  }

  void point() {
    pointers_.resize(n_);
    for (int i = 0; i < n_; ++i) pointers_[i] = list_.data() + start_[i];
  }

  void place(const double* positions, const double* cell) {
    for (int k = 0; k < 3 * n_; ++k) extended_[k] = positions[k];
    for (size_t g = n_; g < target_.size(); ++g) {
      const int* s = &shift_[3 * (g - n_)];
      for (int x = 0; x < 3; ++x)
        extended_[3 * g + x] = positions[3 * static_cast<size_t>(target_[g]) + x] + s[0] * cell[x] +
                               s[1] * cell[3 + x] + s[2] * cell[6 + x];
    }
  }

  // F with cell = (reference cell) F (row vectors). False when the reference cell is singular, as without full periodicity.
  bool deformation_gradient(const double* cell, double* f) const {
    const double* h = box_.data();
    const double det =
        h[0] * (h[4] * h[8] - h[5] * h[7]) - h[1] * (h[3] * h[8] - h[5] * h[6]) + h[2] * (h[3] * h[7] - h[4] * h[6]);
    if (std::fabs(det) < 1e-9) return false;
    const double inverse[9] = {
        (h[4] * h[8] - h[5] * h[7]) / det, (h[2] * h[7] - h[1] * h[8]) / det, (h[1] * h[5] - h[2] * h[4]) / det,
        (h[5] * h[6] - h[3] * h[8]) / det, (h[0] * h[8] - h[2] * h[6]) / det, (h[2] * h[3] - h[0] * h[5]) / det,
        (h[3] * h[7] - h[4] * h[6]) / det, (h[1] * h[6] - h[0] * h[7]) / det, (h[0] * h[4] - h[1] * h[3]) / det};
    for (int r = 0; r < 3; ++r)
      for (int c = 0; c < 3; ++c)
        f[3 * r + c] = inverse[3 * r] * cell[c] + inverse[3 * r + 1] * cell[3 + c] + inverse[3 * r + 2] * cell[6 + c];
    return true;
  }

  int n_ = 0;
  std::vector<double> box_;  // cell vectors of the reference positions, cutoff, skin
  std::vector<double> reference_, extended_;
  std::vector<int> species_, target_, count_, list_, shift_;
  std::vector<int64_t> start_;
  std::vector<const int*> pointers_;
};

}  // namespace trepid
