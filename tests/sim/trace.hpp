#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <string_view>

#include "base/instant.hpp"

namespace sluice::sim {

// Everything that happens goes through here: into the digest always, to the terminal if asked.
// Two runs of one seed must have the same digest.
class Trace {
  public:
    explicit Trace(bool prints) noexcept : prints_(prints) {}

    void note(Instant now, std::string_view what, std::uint64_t a = 0, std::uint64_t b = 0,
              std::uint64_t c = 0, std::uint64_t d = 0) {
        for (const char ch : what) mix(static_cast<unsigned char>(ch));
        for (const std::uint64_t v : {static_cast<std::uint64_t>(now.ns), a, b, c, d}) mix(v);
        if (prints_)
            fmt::print("{:14.6f} {} {} {} {} {}\n", static_cast<double>(now.ns) * 1e-9, what, a, b,
                       c, d);
    }
    std::uint64_t digest() const noexcept { return hash_; }

  private:
    // FNV-1a over 64-bit words.
    void mix(std::uint64_t v) noexcept { hash_ = (hash_ ^ v) * 0x100000001b3ull; }

    std::uint64_t hash_ = 0xcbf29ce484222325ull;
    bool prints_;
};

}  // namespace sluice::sim
