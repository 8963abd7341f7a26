// What to compare forwarding and path computation with: a hash table as simple as one can be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace sluice::bench {

// Half full, linear probing, 8 bytes a slot. Its keys are unique and none is 0; each leads to
// another one, in one large circle.
class HashTable {
  public:
    explicit HashTable(std::span<const std::uint32_t> keys);

    std::uint32_t find(std::uint32_t key) const noexcept {
        std::size_t at = slot_of(key);
        while (slots_[at].key != key) at = (at + 1) & mask_;
        return slots_[at].value;
    }
    // Each key is known when the one before was found: what a single look-up takes.
    std::uint32_t follow(std::uint32_t key, std::size_t count) const noexcept {
        for (std::size_t i = 0; i < count; ++i) key = find(key);
        return key;
    }

  private:
    struct Slot {
        std::uint32_t key = 0;
        std::uint32_t value = 0;
    };

    std::size_t slot_of(std::uint32_t key) const noexcept {
        return key * std::uint64_t{0x9e3779b97f4a7c15} >> 32 & mask_;
    }

    std::vector<Slot> slots_;
    std::size_t mask_;
};

// One access to this much memory at a time: where, is only known when the one before is there.
class Chase {
  public:
    explicit Chase(std::size_t bytes);

    std::uint32_t follow(std::uint32_t at, std::size_t count) const noexcept {
        for (std::size_t i = 0; i < count; ++i) at = lines_[at].next;
        return at;
    }

  private:
    struct alignas(64) Line {
        std::uint32_t next = 0;
    };

    std::vector<Line> lines_;
};

}  // namespace sluice::bench
