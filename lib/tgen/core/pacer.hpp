#pragma once

#include <algorithm>
#include <cstdint>

#include "base/instant.hpp"
#include "base/rng.hpp"

namespace sluice::tgen {

// How fast to send; per_second == 0 is as fast as possible.
struct Rate {
    enum class Unit : std::uint8_t { packets, bits };
    Unit unit = Unit::packets;
    std::uint64_t per_second = 0;

    constexpr bool unlimited() const noexcept { return per_second == 0; }
    bool operator==(const Rate&) const = default;
};

// A token bucket in integers: the tokens of an interval are dt * rate / 1e9 with the remainder
// carried on, so nothing is lost to rounding however often it is asked. An SDU may go while there
// is at least one token and may overdraw the bucket by its own size; so an SDU larger than the
// burst still goes, and the rate holds in the long run.
class Pacer {
  public:
    static constexpr std::uint64_t kPerSecondMax = 10'000'000'000'000ull;  // 10 Tb/s

    Pacer() noexcept = default;
    // `burst`: tokens (packets or bits) that an idle time can save up; at least 1.
    Pacer(Rate rate, std::uint64_t burst) noexcept;

    // What a millisecond brings, but at least 64 SDUs of this size: a loop that polls less often
    // than an SDU is due still reaches the rate.
    static std::uint64_t default_burst(Rate rate, std::uint32_t size_max) noexcept;

    // The bucket starts with one token: the first SDU goes at once.
    void start(Instant now) noexcept;

    // How many SDUs of `bytes` may go now, at most `limit`. What goes is charged with spend().
    unsigned due(Instant now, std::uint32_t bytes, unsigned limit) noexcept;
    // For SDUs of different sizes: advance once, then ready() before each one.
    void advance(Instant now) noexcept;
    bool ready() const noexcept { return rate_.unlimited() || tokens_ > 0; }
    void spend(std::uint64_t sdus, std::uint64_t bytes) noexcept {
        if (!rate_.unlimited()) tokens_ -= static_cast<std::int64_t>(cost(sdus, bytes));
    }

    // When the next SDU may go: `now` or later.
    Instant next(Instant now) noexcept;

    const Rate& rate() const noexcept { return rate_; }

  private:
    // An empty SDU costs as much as one byte, or a flow of them would have no limit.
    std::uint64_t cost(std::uint64_t sdus, std::uint64_t bytes) const noexcept {
        return rate_.unit == Rate::Unit::packets ? sdus : 8 * std::max(sdus, bytes);
    }

    Rate rate_{};
    std::int64_t burst_ = 1;
    std::int64_t tokens_ = 0;
    std::uint64_t remainder_ = 0;  // of a token, in 1e-9
    Instant last_{};
};

}  // namespace sluice::tgen
