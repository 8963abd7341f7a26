#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/rng.hpp"

namespace sluice::tgen {

// A log-linear histogram in the manner of HdrHistogram: each power of two is cut into 64 buckets,
// so a quantile is off by less than 1.6 %, in a fixed 18 KiB. Exact below 64; values above 2^40
// share the last bucket (min, max and mean stay exact).
class Histogram {
  public:
    void add(std::uint64_t value) noexcept {
        ++buckets_[index_of(value)];
        ++count_;
        sum_ += value;
        min_ = std::min(min_, value);
        max_ = std::max(max_, value);
    }
    void reset() noexcept { *this = Histogram(); }

    std::uint64_t count() const noexcept { return count_; }
    std::uint64_t min() const noexcept { return count_ == 0 ? 0 : min_; }
    std::uint64_t max() const noexcept { return max_; }
    std::uint64_t mean() const noexcept {
        return count_ == 0 ? 0 : static_cast<std::uint64_t>(sum_ / count_);
    }
    // The smallest value v such that at least per_mille of all values are <= v, as the top of its
    // bucket and never above max().
    std::uint64_t quantile(unsigned per_mille) const noexcept {
        const auto wanted = static_cast<std::uint64_t>(
            (static_cast<Uint128>(count_) * std::min(per_mille, 1000u) + 999) / 1000);
        std::uint64_t seen = 0;
        for (std::size_t i = 0; i < kBuckets; ++i) {
            seen += buckets_[i];
            if (seen >= wanted && seen > 0) {
                return i + 1 == kBuckets ? max_ : std::clamp(top_of(i), min_, max_);
            }
        }
        return max_;
    }

    static constexpr unsigned kSubBits = 6;
    static constexpr unsigned kValueBits = 40;
    static constexpr std::size_t kBuckets = std::size_t{kValueBits - kSubBits + 1} << kSubBits;

    static constexpr std::size_t index_of(std::uint64_t value) noexcept {
        if (value >> kValueBits) return kBuckets - 1;
        const int high = 63 - std::countl_zero(value | 1);
        const int shift = std::max(high - static_cast<int>(kSubBits), 0);
        return (static_cast<std::size_t>(shift) << kSubBits) +
               static_cast<std::size_t>(value >> shift);
    }
    // The largest value that falls into the bucket.
    static constexpr std::uint64_t top_of(std::size_t index) noexcept {
        constexpr std::size_t kSub = std::size_t{1} << kSubBits;
        if (index < 2 * kSub) return index;
        const std::size_t shift = (index >> kSubBits) - 1;
        const std::uint64_t base = (index & (kSub - 1)) + kSub;
        return ((base + 1) << shift) - 1;
    }

  private:
    std::array<std::uint64_t, kBuckets> buckets_{};
    std::uint64_t count_ = 0;
    Uint128 sum_ = 0;
    std::uint64_t min_ = ~std::uint64_t{0};
    std::uint64_t max_ = 0;
};

}  // namespace sluice::tgen
