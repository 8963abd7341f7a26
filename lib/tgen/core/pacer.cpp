#include "tgen/core/pacer.hpp"

namespace sluice::tgen {

namespace {

constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
// Far from overflow, also when overdrawn by SDUs.
constexpr std::uint64_t kBurstLimit = std::uint64_t{1} << 60;

}  // namespace

Pacer::Pacer(Rate rate, std::uint64_t burst) noexcept
    : rate_{rate.unit, std::min(rate.per_second, kPerSecondMax)},
      burst_(static_cast<std::int64_t>(std::clamp<std::uint64_t>(burst, 1, kBurstLimit))) {}

std::uint64_t Pacer::default_burst(Rate rate, std::uint32_t size_max) noexcept {
    constexpr std::uint64_t kSdus = 64;
    const std::uint64_t sdus =
        rate.unit == Rate::Unit::packets ? kSdus : 8 * kSdus * std::max(size_max, 1u);
    return std::max(sdus, rate.per_second / 1000);
}

void Pacer::start(Instant now) noexcept {
    tokens_ = 1;
    remainder_ = 0;
    last_ = now;
}

void Pacer::advance(Instant now) noexcept {
    if (rate_.unlimited() || now <= last_) return;
    const auto dt = static_cast<std::uint64_t>((now - last_).ns);
    last_ = now;
    std::uint64_t product;
    std::uint64_t fresh;
    // The usual interval is short, and then 64 bits and a constant divisor do.
    if (!__builtin_mul_overflow(dt, rate_.per_second, &product) &&
        !__builtin_add_overflow(product, remainder_, &product)) [[likely]] {
        fresh = product / kNsPerSecond;
        remainder_ = product % kNsPerSecond;
    } else {
        const Uint128 wide = static_cast<Uint128>(dt) * rate_.per_second + remainder_;
        const Uint128 tokens = wide / kNsPerSecond;
        fresh = static_cast<std::uint64_t>(std::min<Uint128>(tokens, 2 * kBurstLimit));
        remainder_ = static_cast<std::uint64_t>(wide % kNsPerSecond);
    }
    tokens_ += static_cast<std::int64_t>(std::min(fresh, 2 * kBurstLimit));
    if (tokens_ >= burst_) {
        tokens_ = burst_;
        remainder_ = 0;
    }
}

unsigned Pacer::due(Instant now, std::uint32_t bytes, unsigned limit) noexcept {
    if (rate_.unlimited()) return limit;
    advance(now);
    if (tokens_ <= 0) return 0;
    const auto tokens = static_cast<std::uint64_t>(tokens_);
    const std::uint64_t each = cost(1, bytes);
    return static_cast<unsigned>(std::min<std::uint64_t>((tokens + each - 1) / each, limit));
}

Instant Pacer::next(Instant now) noexcept {
    advance(now);
    if (ready()) return now;
    const auto missing = static_cast<std::uint64_t>(1 - tokens_);
    const Uint128 wanted = static_cast<Uint128>(missing) * kNsPerSecond - remainder_;
    const Uint128 wait = (wanted + rate_.per_second - 1) / rate_.per_second;
    // Later than the clock can say is never.
    constexpr std::int64_t kLongest = std::int64_t{1} << 61;
    if (wait > static_cast<Uint128>(kLongest)) return Instant::never();
    return last_ + Duration{static_cast<std::int64_t>(wait)};
}

}  // namespace sluice::tgen
