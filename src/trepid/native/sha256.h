// SHA-256 (FIPS 180-4): the check sum of model files.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>

namespace trepid {

class Sha256 {
 public:
  using Digest = std::array<unsigned char, 32>;

  void add(const void* data, size_t size) {
    const auto* bytes = static_cast<const unsigned char*>(data);
    total_ += size;
    while (size > 0) {
      if (filled_ == 0 && size >= kBlock) {  // whole blocks are read where they lie
        mix(bytes);
        bytes += kBlock, size -= kBlock;
        continue;
      }
      const size_t part = std::min(size, kBlock - filled_);
      std::memcpy(block_ + filled_, bytes, part);
      filled_ += part, bytes += part, size -= part;
      if (filled_ == kBlock) {
        mix(block_);
        filled_ = 0;
      }
    }
  }

  // The digest of all that was added; nothing can be added afterwards.
  Digest finish() {
    const uint64_t bits = 8 * total_;
    static constexpr unsigned char padding[kBlock] = {0x80};
    add(padding, filled_ < 56 ? 56 - filled_ : 120 - filled_);
    unsigned char length[8];
    for (int k = 0; k < 8; ++k) length[k] = static_cast<unsigned char>(bits >> (56 - 8 * k));
    add(length, 8);
    Digest out;
    for (int k = 0; k < 32; ++k) out[k] = static_cast<unsigned char>(state_[k / 4] >> (24 - 8 * (k % 4)));
    return out;
  }

  static std::string hex(const Digest& digest) {
    static constexpr char digits[] = "0123456789abcdef";
    std::string out;
    for (const unsigned char byte : digest) out += {digits[byte >> 4], digits[byte & 15]};
    return out;
  }

 private:
  static constexpr size_t kBlock = 64;

  static uint32_t turned(uint32_t x, int n) { return (x >> n) | (x << (32 - n)); }

  void mix(const unsigned char* block) {
    // Fractional parts of the cube roots of the first 64 primes.
    static constexpr uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    uint32_t w[64];
    for (int t = 0; t < 16; ++t)
      w[t] = static_cast<uint32_t>(block[4 * t]) << 24 | static_cast<uint32_t>(block[4 * t + 1]) << 16 |
             static_cast<uint32_t>(block[4 * t + 2]) << 8 | static_cast<uint32_t>(block[4 * t + 3]);
    for (int t = 16; t < 64; ++t) {
      const uint32_t near = w[t - 15], far = w[t - 2];
      w[t] = w[t - 16] + (turned(near, 7) ^ turned(near, 18) ^ (near >> 3)) + w[t - 7] +
             (turned(far, 17) ^ turned(far, 19) ^ (far >> 10));
    }
    uint32_t a = state_[0], b = state_[1], c = state_[2], d = state_[3], e = state_[4], f = state_[5], g = state_[6],
             h = state_[7];
    for (int t = 0; t < 64; ++t) {
      const uint32_t first = h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + ((e & f) ^ (~e & g)) + k[t] + w[t];
      const uint32_t second = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + first, d = c, c = b, b = a, a = first + second;
    }
    state_[0] += a, state_[1] += b, state_[2] += c, state_[3] += d, state_[4] += e, state_[5] += f, state_[6] += g,
        state_[7] += h;
  }

  // Fractional parts of the square roots of the first 8 primes.
  uint32_t state_[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  unsigned char block_[kBlock];
  size_t filled_ = 0;
  uint64_t total_ = 0;
};

}  // namespace trepid
