#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace sluice::sdup {

// Which counters of a key have come. Those far behind the highest are taken for having come. A ring
// of words, cleared as the highest moves on, instead of a bitmap that is shifted (RFC 6479).
class ReplayWindow {
  public:
    static constexpr std::size_t kWords = 32;
    // What is remembered for sure; the word of the highest is not yet full.
    static constexpr std::uint64_t kSize = (kWords - 1) * 64;

    // The very last counter is refused: next_ could not be behind it.
    bool is_new(std::uint64_t counter) const noexcept {
        if (counter >= next_) return counter != ~std::uint64_t{0};
        if (next_ - 1 - counter >= kSize) return false;
        return (words_[counter / 64 % kWords] >> (counter % 64) & 1) == 0;
    }
    // It must be new, and of a PDU that is not forged.
    void insert(std::uint64_t counter) noexcept {
        if (counter >= next_) {
            // Before the first, word 0 is as it should be.
            const std::uint64_t from = next_ == 0 ? 0 : (next_ - 1) / 64;
            const std::uint64_t words = counter / 64 - from;
            for (std::uint64_t i = 1; i <= words && i <= kWords; ++i)
                words_[(counter / 64 - (i - 1)) % kWords] = 0;
            next_ = counter + 1;
        }
        words_[counter / 64 % kWords] |= std::uint64_t{1} << (counter % 64);
    }

  private:
    std::uint64_t next_ = 0;  // the highest that came, and 1
    std::array<std::uint64_t, kWords> words_{};
};

}  // namespace sluice::sdup
