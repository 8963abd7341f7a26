#include "tgen/core/receiver.hpp"

#include <algorithm>
#include <bit>

#include "base/rng.hpp"

namespace sluice::tgen {

void SequenceTracker::out_of_order(std::uint64_t seq) noexcept {
    if (seq > expected_) {
        const std::uint64_t gap = seq - expected_;
        missing_ += gap;
        window_ = gap >= 63 ? 1 : window_ << (gap + 1) | 1;
        expected_ = seq + 1;
        return;
    }
    const std::uint64_t age = expected_ - 1 - seq;
    if (age < 64) {
        const std::uint64_t bit = std::uint64_t{1} << age;
        if (window_ & bit) {
            ++duplicates_;
            return;
        }
        window_ |= bit;
    } else {
        // All 64 numbers of the window are below expected_ here.
        const auto missing_in_window = static_cast<std::uint64_t>(std::popcount(~window_));
        if (missing_ <= missing_in_window) {
            ++duplicates_;
            return;
        }
    }
    --missing_;
    ++reordered_;
}

void Receiver::start(const Settings& settings, std::uint64_t tsc) noexcept {
    *this = Receiver();
    settings_ = settings;
    tag_ = tag_of(settings.nonce);
    start_tsc_ = tsc;
}

std::uint64_t Receiver::to_ns(std::uint64_t ticks) const noexcept {
    if (settings_.tsc_hz == 0) return 0;
    return static_cast<std::uint64_t>(static_cast<Uint128>(ticks) * 1'000'000'000 /
                                      settings_.tsc_hz);
}

Report Receiver::report(std::optional<std::uint64_t> sent) const noexcept {
    Report r;
    r.nonce = settings_.nonce;
    r.sdus = sdus_;
    r.bytes = bytes_;
    r.lost = sequence_.missing();
    r.reordered = sequence_.reordered();
    r.duplicates = sequence_.duplicates();
    if (sent) {
        const std::uint64_t unique = sdus_ - r.duplicates;
        r.lost = *sent > unique ? *sent - unique : 0;
    }
    r.unstamped = unstamped_;
    r.foreign = foreign_;
    if (sdus_ > 0) {
        r.first_ns = to_ns(first_tsc_ - std::min(first_tsc_, start_tsc_));
        r.last_ns = to_ns(last_tsc_ - std::min(last_tsc_, start_tsc_));
    }
    r.latency_count = latency_.count();
    r.latency_min_ns = to_ns(latency_.min());
    r.latency_p50_ns = to_ns(latency_.quantile(500));
    r.latency_p99_ns = to_ns(latency_.quantile(990));
    r.latency_max_ns = to_ns(latency_.max());
    r.latency_mean_ns = to_ns(latency_.mean());
    if (settings_.mode == Mode::raw) r.checksum = checksum_.value();
    return r;
}

double goodput_bps(const Report& report) noexcept {
    if (report.last_ns <= report.first_ns) return 0;
    return static_cast<double>(report.bytes) * 8e9 /
           static_cast<double>(report.last_ns - report.first_ns);
}

}  // namespace sluice::tgen
