#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice::tgen {

// XXH64 (seed 0) of a stream of bytes, written from the specification of xxHash
// (github.com/Cyan4973/xxHash, doc/xxhash_spec.md). Four independent lanes of 8-byte words make
// it faster than memory delivers, how the stream is cut into SDUs does not matter, and what is
// reported can be compared with `xxhsum -H64 FILE`.
class Checksum {
  public:
    Checksum() noexcept { reset(); }
    void reset() noexcept;
    void update(std::span<const std::byte> data) noexcept;
    std::uint64_t value() const noexcept;

  private:
    static constexpr std::size_t kStripe = 32;

    std::array<std::uint64_t, 4> lanes_{};
    std::uint64_t length_ = 0;
    std::array<std::byte, kStripe> held_{};  // less than a stripe
    std::size_t held_size_ = 0;
};

}  // namespace sluice::tgen
