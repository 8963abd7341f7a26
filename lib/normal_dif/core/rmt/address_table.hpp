#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/rng.hpp"

namespace sluice::rmt {

struct AddressAnswer {
    std::uint64_t address;
    std::uint32_t answer;  // not 0
};

// Open addressing over cache lines: a probe looks through the whole line that an address hashes to
// before it goes on to the next. A slot without an answer ends it.
template <typename Key>
class LineTable {
  public:
    std::uint32_t find(Key key) const noexcept {
        const std::uint64_t h = hash(key);
        std::size_t line = h >> kSlotBits & mask_;
        const std::size_t first = h % kSlots;
        for (;;) {
            const Line& l = lines_[line];
            for (std::size_t i = 0; i < kSlots; ++i) {
                const Slot& slot = l.slots[(first + i) % kSlots];
                if (slot.key == key) return slot.answer;  // of an empty slot: 0, none
                if (slot.answer == 0) return 0;
            }
            line = (line + 1) & mask_;
        }
    }
    void prefetch(Key key) const noexcept {
        __builtin_prefetch(&lines_[hash(key) >> kSlotBits & mask_]);
    }

    // False, with the table in some state, if an address would take more than `lines_max` lines to
    // find. Addresses must differ.
    bool fill(std::span<const AddressAnswer> entries, std::size_t lines, std::uint64_t multiplier,
              std::size_t lines_max) {
        lines_.assign(lines, Line{});
        mask_ = lines - 1;
        multiplier_ = multiplier | 1;
        for (const AddressAnswer& entry : entries)
            if (!insert(static_cast<Key>(entry.address), entry.answer, lines_max)) return false;
        return true;
    }
    bool empty() const noexcept { return lines_.empty(); }
    std::size_t bytes() const noexcept { return lines_.size() * sizeof(Line); }

    template <typename Visit>
    void for_each(Visit&& visit) const {
        for (const Line& line : lines_)
            for (const Slot& slot : line.slots)
                if (slot.answer != 0) visit(std::uint64_t{slot.key}, slot.answer);
    }

    static constexpr std::size_t kSlots = 64 / (2 * sizeof(Key));

  private:
    struct Slot {
        Key key = 0;
        std::uint32_t answer = 0;
    };
    struct alignas(64) Line {
        std::array<Slot, kSlots> slots{};
    };
    static_assert(sizeof(Line) == 64);
    static constexpr unsigned kSlotBits = std::countr_zero(kSlots);

    // Multiply-shift (Dietzfelbinger 1997): what is kept depends on all bits of the key.
    std::uint64_t hash(Key key) const noexcept {
        if constexpr (sizeof(Key) == 4) return key * multiplier_ >> 32;
        const Uint128 product = static_cast<Uint128>(key) * multiplier_;
        return static_cast<std::uint64_t>(product >> 64) ^ static_cast<std::uint64_t>(product);
    }
    bool insert(Key key, std::uint32_t answer, std::size_t lines_max) {
        const std::uint64_t h = hash(key);
        const std::size_t first = h % kSlots;
        for (std::size_t n = 0; n < lines_max && n <= mask_; ++n) {
            Line& line = lines_[((h >> kSlotBits) + n) & mask_];
            for (std::size_t i = 0; i < kSlots; ++i) {
                Slot& slot = line.slots[(first + i) % kSlots];
                if (slot.answer != 0) continue;
                slot = {key, answer};
                return true;
            }
        }
        return false;
    }

    std::vector<Line> lines_;
    std::uint64_t mask_ = 0;
    std::uint64_t multiplier_ = 1;
};

// From an address to a number: an array where addresses are small and dense, as address allocation
// policies make them; else a hash table, with slots half as large while no address needs 64 bits.
class AddressTable {
  public:
    std::uint32_t find(std::uint64_t address) const noexcept {
        if (address < direct_.size()) return direct_[address];
        if (kind_ == Kind::direct) return 0;
        if (kind_ == Kind::narrow) [[likely]]
            return address >> 32 != 0 ? 0 : narrow_.find(static_cast<std::uint32_t>(address));
        return wide_.find(address);
    }
    void prefetch(std::uint64_t address) const noexcept {
        if (kind_ == Kind::direct) {
            if (address < direct_.size()) __builtin_prefetch(&direct_[address]);
        } else if (kind_ == Kind::narrow) {
            narrow_.prefetch(static_cast<std::uint32_t>(address));
        } else {
            wide_.prefetch(address);
        }
    }

    // Addresses must differ. Whoever chooses addresses does not know the seed, and so cannot
    // choose them such that they collide.
    void assign(std::span<const AddressAnswer> entries, std::uint64_t seed);

    std::size_t size() const noexcept { return size_; }
    std::size_t bytes() const noexcept {
        return direct_.size() * sizeof(std::uint32_t) + narrow_.bytes() + wide_.bytes();
    }
    template <typename Visit>
    void for_each(Visit&& visit) const {
        for (std::size_t at = 0; at < direct_.size(); ++at)
            if (direct_[at] != 0) visit(std::uint64_t{at}, direct_[at]);
        narrow_.for_each(visit);
        wide_.for_each(visit);
    }

  private:
    enum class Kind : std::uint8_t { direct, narrow, wide };
    template <typename Key>
    static void assign_hashed(LineTable<Key>& table, std::span<const AddressAnswer> entries,
                              std::uint64_t seed);

    Kind kind_ = Kind::direct;
    std::size_t size_ = 0;
    std::vector<std::uint32_t> direct_;
    LineTable<std::uint32_t> narrow_;
    LineTable<std::uint64_t> wide_;
};

}  // namespace sluice::rmt
