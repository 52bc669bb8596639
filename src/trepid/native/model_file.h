// Reads the evaluation tables of a model file: a safetensors container (8-byte length, JSON header, raw little-endian
// arrays) of which only the tensors named `table.*` and the tables of the support are used. The check sum of the whole file
// is compared, and every rank count, shape and size checked, before anything is used.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "model.h"
#include "sha256.h"

namespace trepid {

// The part of JSON that a safetensors header uses: nested objects, arrays of integers, strings.
class HeaderReader {
 public:
  struct Tensor {
    std::string type;
    std::vector<uint64_t> shape;
    uint64_t begin = 0, end = 0;
  };

  explicit HeaderReader(const std::string& text) : text_(text) {
    expect('{');
    if (accept('}')) return;
    do {
      const std::string name = string();
      expect(':');
      if (name == "__metadata__")
        read_metadata();
      else
        tensors[name] = read_tensor();
    } while (accept(','));
    expect('}');
  }

  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> metadata;

 private:
  [[noreturn]] static void fail() { throw std::runtime_error("its header cannot be read"); }
  void skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r'))
      ++at_;
  }
  bool accept(char c) {
    skip();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail();
  }
  std::string string() {
    expect('"');
    std::string out;
    while (at_ < text_.size() && text_[at_] != '"') {
      if (text_[at_] == '\\') {
        ++at_;
        if (at_ >= text_.size()) fail();
      }
      out += text_[at_++];
    }
    expect('"');
    return out;
  }
  uint64_t integer() {
    skip();
    if (at_ >= text_.size() || text_[at_] < '0' || text_[at_] > '9') fail();
    uint64_t value = 0;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') value = 10 * value + (text_[at_++] - '0');
    return value;
  }
  std::vector<uint64_t> integers() {
    std::vector<uint64_t> out;
    expect('[');
    if (accept(']')) return out;
    do out.push_back(integer());
    while (accept(','));
    expect(']');
    return out;
  }
  void read_metadata() {
    expect('{');
    if (accept('}')) return;
    do {
      const std::string name = string();
      expect(':');
      metadata[name] = string();
    } while (accept(','));
    expect('}');
  }
  Tensor read_tensor() {
    Tensor t;
    expect('{');
    do {
      const std::string name = string();
      expect(':');
      if (name == "dtype") {
        t.type = string();
      } else if (name == "shape") {
        t.shape = integers();
      } else if (name == "data_offsets") {
        const auto offsets = integers();
        if (offsets.size() != 2 || offsets[1] < offsets[0]) fail();
        t.begin = offsets[0], t.end = offsets[1];
      } else {
        fail();
      }
    } while (accept(','));
    expect('}');
    return t;
  }

  const std::string& text_;
  size_t at_ = 0;
};

// An owning Model, with the atomic numbers of its species.
class ModelTables {
 public:
  // Throws std::runtime_error whose text completes "model file X: ...".
  static ModelTables read(const std::string& path) {
    const std::string content = read_all(path);
    const uint64_t total = content.size();
    uint64_t length = 0;
    if (total >= 8) std::memcpy(&length, content.data(), 8);
    if (total < 8 || length > total - 8 || length > (1u << 28))
      throw std::runtime_error("it is not a model file of trepid, or it is cut off");
    const std::string header = content.substr(8, length);
    const HeaderReader parsed(header);
    const auto found = parsed.metadata.find("trepid");
    const std::string description = found == parsed.metadata.end() ? "" : found->second;
    if (description.find("\"format\": \"trepid-bayesian-force-field\"") == std::string::npos)
      throw std::runtime_error("it is not a model file of trepid");
    const bool first_version = ends_with(description, "\"version\": 1}");
    bool known = first_version;
    for (const char* version : {"2", "3", "4"}) known |= ends_with(description, std::string("\"version\": ") + version + "}");
    if (!known) throw std::runtime_error("its version is none of 1 to 4, which this plugin reads");
    const uint64_t start = 8 + length, available = total - start;
    for (const auto& t : parsed.tensors)
      if (t.second.end > available) throw std::runtime_error("it is cut off");
    const bool has_sum = parsed.tensors.count("sha256") > 0;
    if (has_sum || !first_version) verify(content, start, parsed);

    ModelTables out;
    out.verified = has_sum;
    std::vector<int64_t> sizes;
    std::vector<double> grid;
    load(content, parsed, start, "table.numbers", "I64", out.numbers);
    load(content, parsed, start, "table.sizes", "I64", sizes);
    load(content, parsed, start, "table.grid", "F64", grid);
    if (sizes.size() != 4 || grid.size() != 3 || out.numbers.empty()) throw std::runtime_error("its sizes are damaged");
    out.n_species = static_cast<int>(out.numbers.size());
    out.n_pair = static_cast<int>(sizes[0]), out.n_radial = static_cast<int>(sizes[1]),
    out.l_max = static_cast<int>(sizes[2]), out.rank = static_cast<int>(sizes[3]);
    out.r_min = grid[0], out.pair_cutoff = grid[1], out.triplet_cutoff = grid[2];
    load(content, parsed, start, "table.offset", "F64", out.offset);
    load(content, parsed, start, "table.pair", "F64", out.pair);
    load(content, parsed, start, "table.zbl", "F64", out.zbl);
    load(content, parsed, start, "table.pair_live", "F32", out.pair_live);
    if (parsed.tensors.count("table.mixed_triplet")) {
      load(content, parsed, start, "table.triplet_channel_radial", "F64", out.triplet_channel_radial);
      load(content, parsed, start, "table.mixed_triplet", "F64", out.mixed_triplet);
      load(content, parsed, start, "table.mixed_triplet_live", "F32", out.mixed_triplet_live);
    } else {
      load(content, parsed, start, "table.triplet", "F64", out.triplet);
      load(content, parsed, start, "table.triplet_live", "F32", out.triplet_live);
    }
    if (parsed.tensors.count("support.centre")) {  // earlier versions wrote none
      load(content, parsed, start, "support.centre", "F64", out.support_centre);
      load(content, parsed, start, "support.whitening", "F64", out.support_whitening);
      load(content, parsed, start, "support.offset", "F64", out.support_offset);
      load(content, parsed, start, "support.around", "F64", out.support_around);
    }
    if (parsed.tensors.count("table.quadruplet")) {
      load(content, parsed, start, "table.channel_radial", "F64", out.channel_radial);
      load(content, parsed, start, "table.channel_centre", "F64", out.channel_centre);
      load(content, parsed, start, "table.quadruplet", "F64", out.quadruplet);
      load(content, parsed, start, "table.quadruplet_live", "F32", out.quadruplet_live);
    }
    if (parsed.tensors.count("table.formal_charges")) {
      load(content, parsed, start, "table.formal_charges", "F64", out.formal_charges);
      load(content, parsed, start, "table.charge_width", "F64", out.charge_width);
      load(content, parsed, start, "table.charge_product", "F64", out.charge_product);
    }
    out.check();
    return out;
  }

  // Keeps the first directions only. Each is a draw of the posterior: fewer of them stand for the same variance.
  void limit_rank(int rank) {
    if (rank >= this->rank) return;
    const float scale = rank > 0 ? std::sqrt(static_cast<float>(this->rank) / rank) : 1;
    for (float& c : pair_live) c *= scale;
    for (float& c : triplet_live) c *= scale;
    for (float& c : mixed_triplet_live) c *= scale;
    for (float& c : quadruplet_live) c *= scale;
    pair_live = leading(pair_live, this->rank, rank);
    triplet_live = leading(triplet_live, this->rank, rank);
    mixed_triplet_live = leading(mixed_triplet_live, this->rank, rank);
    quadruplet_live = leading(quadruplet_live, this->rank, rank);
    this->rank = rank;
  }

  // Aligned view for the kernel; valid as long as this object and unchanged.
  Model model() {
    zbl_.clear();
    for (size_t k = 0; k < zbl.size(); k += 4) zbl_.push_back(Zbl{zbl[k], zbl[k + 1], zbl[k + 2], zbl[k + 3]});
    triplet_ = align(triplet), pair_live_ = align(pair_live), triplet_live_ = align(triplet_live);
    if (has_support()) support_whitening_ = align(support_whitening);
    if (has_quadruplets())
      channel_radial_ = align(channel_radial), quadruplet_ = align(quadruplet), quadruplet_live_ = align(quadruplet_live);
    Model m{n_species,
                 n_pair,
                 n_radial,
                 l_max,
                 rank,
                 r_min,
                 pair_cutoff,
                 triplet_cutoff,
                 offset.data(),
                 pair.data(),
                 triplet_.get(),
                 zbl_.data(),
                 pair_live_.get(),
                 triplet_live_.get(),
                 has_support() ? support_centre.data() : nullptr,
                 has_support() ? support_whitening_.get() : nullptr,
                 has_support() ? support_offset.data() : nullptr,
                 has_quadruplets() ? channel_radial_.get() : nullptr,
                 has_quadruplets() ? channel_centre.data() : nullptr,
                 has_quadruplets() ? quadruplet_.get() : nullptr,
                 has_quadruplets() && rank > 0 ? quadruplet_live_.get() : nullptr};
    if (has_mixed_triplets()) {
      triplet_channel_radial_ = align(triplet_channel_radial), mixed_triplet_ = align(mixed_triplet);
      mixed_triplet_live_ = align(mixed_triplet_live);
      m.n_triplet_channels = n_triplet_channels();
      m.triplet_channel_radial = triplet_channel_radial_.get(), m.mixed_triplet = mixed_triplet_.get();
      m.mixed_triplet_live = mixed_triplet_live_.get();
    }
    return m;
  }

  bool has_mixed_triplets() const { return !mixed_triplet.empty(); }
  bool has_quadruplets() const { return !quadruplet.empty(); }
  bool verified = false;  // it has a check sum; files of the first version have none
  bool has_support() const { return !support_centre.empty(); }

  // A Coulomb energy of Gaussian charges, which MD engines compute by a mesh and not from these tables.
  bool has_charges() const { return !formal_charges.empty() && charge_product[0] != 0; }
  // Effective charge of a species, e.
  double charge(int species) const { return std::sqrt(charge_product[0]) * formal_charges[species]; }
  // Splitting parameter g of an Ewald sum whose reciprocal part is the energy of the Gaussian charges, 1/A.
  double ewald_parameter() const { return 0.5 / charge_width[0]; }

  int n_species = 0, n_pair = 0, n_radial = 0, l_max = 0, rank = 0;
  double r_min = 0, pair_cutoff = 0, triplet_cutoff = 0;
  std::vector<int64_t> numbers;  // atomic numbers
  std::vector<double> offset, pair, triplet, zbl, support_centre, support_whitening, support_offset,
      support_around, triplet_channel_radial, mixed_triplet, channel_radial, channel_centre, quadruplet,
      formal_charges, charge_width, charge_product;
  std::vector<float> pair_live, triplet_live, mixed_triplet_live, quadruplet_live;

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  template <class T>
  static std::unique_ptr<T, Free> align(const std::vector<T>& from) {
    void* p = std::aligned_alloc(64, (from.size() * sizeof(T) + 127) / 64 * 64);
    if (!p) throw std::bad_alloc();
    std::memcpy(p, from.data(), from.size() * sizeof(T));
    return std::unique_ptr<T, Free>(static_cast<T*>(p));
  }
  static std::vector<float> leading(const std::vector<float>& from, int stride, int n) {
    std::vector<float> out;
    out.reserve(from.size() / stride * n);
    for (size_t k = 0; k < from.size(); k += stride) out.insert(out.end(), from.begin() + k, from.begin() + k + n);
    return out;
  }
  template <class T>
  static void load(const std::string& content, const HeaderReader& header, uint64_t start, const std::string& name,
                   const char* type, std::vector<T>& into) {
    const auto found = header.tensors.find(name);
    if (found == header.tensors.end()) throw std::runtime_error("it has no " + name);
    const auto& t = found->second;
    if (t.type != type || (t.end - t.begin) % sizeof(T)) throw std::runtime_error(name + " has the wrong type");
    into.resize((t.end - t.begin) / sizeof(T));
    if (!into.empty()) std::memcpy(into.data(), content.data() + start + t.begin, t.end - t.begin);
  }

  static std::string read_all(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("it cannot be opened");
    std::string content;
    std::vector<char> part(1 << 20);
    while (file.read(part.data(), static_cast<std::streamsize>(part.size())) || file.gcount() > 0)
      content.append(part.data(), static_cast<size_t>(file.gcount()));
    if (!file.eof()) throw std::runtime_error("it cannot be read");  // a folder
    return content;
  }

  static bool ends_with(const std::string& text, const std::string& end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
  }

  // The tensor "sha256" holds the SHA-256 of the whole file with zeros in its own place: every byte counts, those of the
  // header and appended ones too.
  static void verify(const std::string& content, uint64_t start, const HeaderReader& header) {
    const auto found = header.tensors.find("sha256");
    if (found == header.tensors.end() || found->second.type != "U8" || found->second.end - found->second.begin != 32)
      throw std::runtime_error("damaged: it has no check sum, which files of its version have");
    const uint64_t at = start + found->second.begin;
    static constexpr char zeros[32] = {};
    Sha256 sum;
    sum.add(content.data(), at);
    sum.add(zeros, 32);
    sum.add(content.data() + at + 32, content.size() - at - 32);
    const auto digest = sum.finish();
    if (std::memcmp(digest.data(), content.data() + at, 32) != 0)
      throw std::runtime_error("damaged: its content does not have its check sum (SHA-256); take another copy of it");
  }
  int n_triplet_channels() const {
    return static_cast<int>(triplet_channel_radial.size() / (static_cast<size_t>(n_species) * padded_radial(n_radial)));
  }
  void check() const {
    if (n_pair < 1 || n_radial < 1 || l_max < 0 || l_max > kMaxDegree || rank < 0 || rank % kRankBlock ||
        !(pair_cutoff > r_min) || !(triplet_cutoff > r_min))
      throw std::runtime_error("its sizes are out of range");
    const size_t ns = n_species, channels = ns * padded_radial(n_radial),
                 products = has_mixed_triplets() ? 0 : ns * (l_max + 1) * channels * channels, splines = ns * ns * (n_pair + 3);
    if (offset.size() != ns || pair.size() != splines || triplet.size() != products || zbl.size() != 4 * ns * ns ||
        pair_live.size() != splines * rank || triplet_live.size() != products * rank)
      throw std::runtime_error("its tables do not have the sizes they claim");
    const size_t k = n_triplet_channels(), mixed = mixed_size(n_species, l_max, n_triplet_channels());
    if (has_mixed_triplets() && (triplet_channel_radial.size() != k * channels || mixed_triplet.size() != mixed ||
                                 mixed_triplet_live.size() != mixed * rank))
      throw std::runtime_error("its tables of mixed triplets do not have the sizes they claim");
    const size_t quadruplets = ns * quadruplet_size(l_max);
    if (has_quadruplets() &&
        (channel_radial.size() != kQuadrupletChannels * channels || channel_centre.size() != ns * kQuadrupletChannels ||
         quadruplet.size() != quadruplets || quadruplet_live.size() != quadruplets * rank))
      throw std::runtime_error("its tables of quadruplets do not have the sizes they claim");
    if (!(formal_charges.empty() && charge_width.empty() && charge_product.empty()) &&
        (formal_charges.size() != ns || charge_width.size() != 1 || charge_product.size() != 1 ||
                          !(charge_width[0] > 0) || !std::isfinite(charge_product[0])))
      throw std::runtime_error("its charges do not have the size of its tables");
    const size_t powers = (l_max + 1) * channels;
    if (has_support() && (support_centre.size() != ns * powers || support_whitening.size() != ns * powers * powers ||
                          support_offset.size() != ns || support_around.size() != 1 || !(support_around[0] > 0)))
      throw std::runtime_error("its support of the training data does not have the size of its tables");
  }

  std::vector<Zbl> zbl_;
  std::unique_ptr<double, Free> triplet_, support_whitening_, triplet_channel_radial_, mixed_triplet_, channel_radial_, quadruplet_;
  std::unique_ptr<float, Free> pair_live_, triplet_live_, mixed_triplet_live_, quadruplet_live_;
};

}  // namespace trepid
