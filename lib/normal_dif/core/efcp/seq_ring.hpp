#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>

namespace sluice::efcp {

// Entries that are found by sequence number, for a range of numbers that moves. Nothing is
// allocated before the first use, so that an idle flow costs next to nothing; then it doubles up to
// what the flow's window needs and stays.
template <typename T>
class SeqRing {
    static_assert(std::is_trivially_copyable_v<T>);

  public:
    SeqRing() noexcept = default;
    ~SeqRing() { release(); }
    SeqRing(const SeqRing&) = delete;
    SeqRing& operator=(const SeqRing&) = delete;

    // Makes room for the numbers [first, first + count) and keeps the entries of the first `used`
    // of them. False if there is no memory; nothing has changed then.
    bool reserve(std::uint64_t first, std::uint64_t used, std::uint64_t count) noexcept {
        return count <= capacity_ || grow(first, used, count);
    }
    std::uint64_t capacity() const noexcept { return capacity_; }

    T& operator[](std::uint64_t seq) noexcept { return data_[seq & (capacity_ - 1)]; }
    const T& operator[](std::uint64_t seq) const noexcept { return data_[seq & (capacity_ - 1)]; }

    void release() noexcept {
        ::operator delete(data_);
        data_ = nullptr;
        capacity_ = 0;
    }

  private:
    static constexpr std::uint64_t kFirst = 16;

    bool grow(std::uint64_t first, std::uint64_t used, std::uint64_t count) noexcept {
        const std::uint64_t capacity = std::bit_ceil(std::max(count, kFirst));
        auto* const data =
            static_cast<T*>(::operator new(capacity * sizeof(T), std::nothrow));
        if (data == nullptr) return false;
        for (std::uint64_t i = 0; i < used; ++i)
            std::memcpy(&data[(first + i) & (capacity - 1)], &(*this)[first + i], sizeof(T));
        ::operator delete(data_);
        data_ = data;
        capacity_ = static_cast<std::uint32_t>(capacity);
        return true;
    }

    T* data_ = nullptr;
    std::uint32_t capacity_ = 0;
};

// A bit for each sequence number of a range that moves. Bits outside of it are kept clear.
class SeqBits {
  public:
    // As SeqRing's; the new bits are clear.
    bool reserve(std::uint64_t first, std::uint64_t used, std::uint64_t count) noexcept {
        // A range that starts within a word lies in one word more.
        if (count + 63 <= words_.capacity() * 64) [[likely]]
            return true;
        return grow(first, used, count);
    }
    bool allocated() const noexcept { return words_.capacity() != 0; }
    void release() noexcept { words_.release(); }

    bool test(std::uint64_t seq) const noexcept {
        return allocated() && ((words_[seq / 64] >> (seq % 64)) & 1) != 0;
    }
    void set(std::uint64_t seq) noexcept { words_[seq / 64] |= bit(seq); }
    void clear(std::uint64_t seq) noexcept { words_[seq / 64] &= ~bit(seq); }

    // Calls `change(word, mask, seq of its lowest bit)` for all words of [first, end).
    template <typename Change>
    void each_word(std::uint64_t first, std::uint64_t end, Change&& change) noexcept {
        while (first != end) {
            const std::uint64_t base = first & ~std::uint64_t{63};
            const std::uint64_t here = std::min<std::uint64_t>(end - first, 64 - (first - base));
            const std::uint64_t ones = here == 64 ? ~std::uint64_t{0} : bit(here) - 1;
            change(words_[base / 64], ones << (first - base), base);
            first += here;
        }
    }
    void clear_range(std::uint64_t first, std::uint64_t end) noexcept {
        each_word(first, end, [](std::uint64_t& word, std::uint64_t mask, std::uint64_t) noexcept {
            word &= ~mask;
        });
    }
    // The first number of [first, end) whose bit is `value`, or end.
    std::uint64_t find(bool value, std::uint64_t first, std::uint64_t end) const noexcept {
        while (first != end) {
            const std::uint64_t base = first & ~std::uint64_t{63};
            const std::uint64_t here = std::min<std::uint64_t>(end - first, 64 - (first - base));
            const std::uint64_t ones = here == 64 ? ~std::uint64_t{0} : bit(here) - 1;
            const std::uint64_t word = value ? words_[base / 64] : ~words_[base / 64];
            const std::uint64_t hits = word & (ones << (first - base));
            if (hits != 0) return base + static_cast<unsigned>(std::countr_zero(hits));
            first += here;
        }
        return end;
    }

  private:
    static constexpr std::uint64_t bit(std::uint64_t seq) noexcept {
        return std::uint64_t{1} << (seq % 64);
    }
    bool grow(std::uint64_t first, std::uint64_t used, std::uint64_t count) noexcept {
        // Behind what there was room for, nothing was set.
        const std::uint64_t bits = words_.capacity() * 64;
        used = std::min(used, bits == 0 ? 0 : bits - 63);
        const std::uint64_t from = first / 64;
        const std::uint64_t words = used == 0 ? 0 : (first + used - 1) / 64 - from + 1;
        // (count + 63) bits, in whole words.
        if (!words_.reserve(from, words, (count + 126) / 64)) return false;
        for (std::uint64_t i = words; i < words_.capacity(); ++i) words_[from + i] = 0;
        return true;
    }

    SeqRing<std::uint64_t> words_;
};

}  // namespace sluice::efcp
