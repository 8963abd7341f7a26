#include "normal_dif/core/efcp/congestion.hpp"

#include <algorithm>

namespace sluice::efcp {

namespace {

constexpr std::uint32_t kWindowMax = 1u << 30;

// Growth of the rate below this, in three rounds, ends startup.
constexpr float kGrowth = 1.25f;
constexpr std::uint8_t kStaleRounds = 3;
// Enough to double the rate in each round, and to drain in one what startup left in queues.
constexpr double kStartupGain = 2.77;
constexpr double kDrainGain = 1 / kStartupGain;
constexpr double kWindowGain = 2;
constexpr std::array<double, 8> kProbeGains = {1.25, 0.75, 1, 1, 1, 1, 1, 1};
// A link that loses one PDU in 16 by chance is still filled: what it lost counts as capacity.
constexpr std::uint32_t kLossForgiven = 15;

}  // namespace

void Aimd::on_ack(const AckSample& sample) noexcept {
    if ((sample.lost > 0 || sample.marked) && !sample.recovering) {
        threshold_ = std::max(sample.in_flight + sample.lost + sample.delivered, 2u) / 2;
        threshold_ = std::max(threshold_, kLeastWindow);
        window_ = threshold_;
        acked_ = 0;
        return;
    }
    // A window that is not filled says nothing about the path (RFC 7661).
    if (sample.limited_by_user || (sample.recovering && window_ >= threshold_)) return;
    if (window_ < threshold_) {
        window_ = std::min(window_ + sample.delivered, std::min(threshold_, kWindowMax));
        return;
    }
    acked_ += sample.delivered;
    while (acked_ >= window_) {
        acked_ -= window_;
        window_ = std::min(window_ + 1, kWindowMax);
    }
}

void Aimd::on_timeout() noexcept {
    threshold_ = std::max(window_ / 2, kLeastWindow);
    window_ = 1;
    acked_ = 0;
}

void RateEstimate::on_ack(const AckSample& sample) noexcept {
    if (sample.delivered > 0) timed_out_ = false;
    rtt_min_ = sample.rtt_min;
    if (phase_ == Phase::startup)
        window_ = std::min(window_ + sample.delivered, kWindowMax);
    if (sample.round_ended && sample.round_time.ns > 0) on_round(sample);
    if (phase_ == Phase::drain && sample.in_flight <= product()) {
        phase_ = Phase::probe;
        probe_round_ = 2;  // at the rate that was found, first
    }
}

void RateEstimate::add_rate(const AckSample& sample, bool is_queue_long) noexcept {
    const std::uint32_t forgiven =
        is_queue_long ? 0 : std::min(sample.round_lost, sample.round_delivered / kLossForgiven);
    const auto rate = static_cast<float>(static_cast<double>(sample.round_delivered + forgiven) /
                                         sample.round_time.to_seconds());
    // A user that sends little does not make the path slower.
    if (sample.limited_by_user && rate < rate_) return;
    rates_[rate_at_] = rate;
    rate_ = *std::max_element(rates_.begin(), rates_.end());
}

void RateEstimate::on_round(const AckSample& sample) noexcept {
    rate_at_ = static_cast<std::uint8_t>((rate_at_ + 1) % kRounds);
    ++probe_round_;
    const bool is_queue_long = sample.rtt.ns > rtt_min_.ns + rtt_min_.ns / 4;
    add_rate(sample, is_queue_long);
    if (is_queue_long &&
        (sample.marked || sample.round_lost > (sample.round_delivered + sample.round_lost) / 8)) {
        // Queues run over: the rate is too high by more than a probe gives back.
        for (float& rate : rates_) rate *= 0.85f;
        rate_ *= 0.85f;
    }
    if (phase_ != Phase::startup || sample.limited_by_user) return;
    if (rate_ >= full_rate_ * kGrowth) {
        full_rate_ = rate_;
        stale_rounds_ = 0;
    } else if (++stale_rounds_ >= kStaleRounds) {
        phase_ = Phase::drain;
    }
}

void RateEstimate::on_timeout() noexcept {
    // The path may be gone. Whatever comes back shows that it is not.
    timed_out_ = true;
}

double RateEstimate::product() const noexcept {
    return static_cast<double>(rate_) * rtt_min_.to_seconds();
}

CongestionLimits RateEstimate::limits() const noexcept {
    CongestionLimits limits;
    const double gain = phase_ == Phase::startup ? kStartupGain
                        : phase_ == Phase::drain ? kDrainGain
                                                 : kProbeGains[probe_round_ % kProbeGains.size()];
    const double window = std::min(kWindowGain * product(), double{kWindowMax});
    limits.window = std::max(static_cast<std::uint32_t>(window), kLeastWindow);
    if (phase_ == Phase::startup) limits.window = std::max(limits.window, window_);
    if (timed_out_) limits.window = 1;
    // A user that sent one PDU a round trip so far may send a first window in the next.
    const double least = rtt_min_.ns > 0 ? kFirstWindow / rtt_min_.to_seconds() : 0;
    limits.pdus_per_second = std::max(gain * static_cast<double>(rate_), least);
    return limits;
}

CongestionPolicy make_congestion(Congestion kind) noexcept {
    switch (kind) {
        case Congestion::aimd: return Aimd{};
        case Congestion::rate_estimate: return RateEstimate{};
        case Congestion::none: break;
    }
    return NoCongestionControl{};
}

}  // namespace sluice::efcp
