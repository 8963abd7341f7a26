#include "normal_dif/core/efcp/congestion.hpp"

#include <algorithm>
#include <utility>

namespace sluice::efcp {

namespace {

constexpr std::uint32_t kWindowMax = 1u << 30;

// Growth of the rate below this, in three rounds, ends startup; in one, if what the last one added
// is in a queue or lost.
constexpr float kGrowth = 1.25f;
constexpr std::uint8_t kStaleRounds = 3;
// What a round is to send goes out well within it, or the next one would have less to double.
constexpr double kStartupGain = 2;
// Drains in some two rounds what startup left in queues.
constexpr double kDrainGain = 0.36;
constexpr double kWindowGain = 2;
constexpr std::array<double, 8> kProbeGains = {1.25, 0.75, 1, 1, 1, 1, 1, 1};
// A link that loses one PDU in 16 by chance is still filled: what it lost counts as capacity.
constexpr std::uint32_t kLossForgiven = 15;
constexpr std::int64_t kQueueForgiven = 16;

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
    if (phase_ == Phase::startup) grow(sample);
    if (sample.round_ended && sample.round_time.ns > 0) on_round(sample);
    if (sample.in_flight > product()) return;
    // No queue is left of what startup or a probe has put there.
    if (phase_ == Phase::drain) {
        phase_ = Phase::probe;
        probe_round_ = 2;  // at the rate that was found, first
        is_after_startup_ = true;
    } else if (phase_ == Phase::probe && probe_round_ % kProbeGains.size() == 1) {
        ++probe_round_;
    }
}

void RateEstimate::grow(const AckSample& sample) noexcept {
    // A window that is not filled says nothing about the path.
    if (sample.limited_by_user) return;
    const std::uint32_t more = is_queue_long(sample) ? sample.delivered / 4 : sample.delivered;
    window_ = std::min(window_ + more, kWindowMax);
}

bool RateEstimate::is_queue_long(const AckSample& sample) const noexcept {
    return sample.rtt.ns > rtt_min_.ns + rtt_min_.ns / 4;
}

void RateEstimate::add_rate(const AckSample& sample) noexcept {
    // Unless it had no room.
    const bool is_queued = sample.rtt.ns > rtt_min_.ns + rtt_min_.ns / kQueueForgiven;
    const std::uint32_t forgiven =
        is_queued ? 0 : std::min(sample.round_lost, sample.round_delivered / kLossForgiven);
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
    const bool is_long = is_queue_long(sample);
    const bool is_loss_high =
        sample.round_lost > (sample.round_delivered + sample.round_lost) / 8;
    add_rate(sample);
    // What startup has lost is found in the round in which its queue is gone at the latest.
    const bool is_of_probes = phase_ == Phase::probe && !std::exchange(is_after_startup_, false);
    if (is_of_probes && is_long && (sample.marked || is_loss_high)) {
        // Queues run over: the rate is too high by more than a probe gives back.
        for (float& rate : rates_) rate *= 0.85f;
        rate_ *= 0.85f;
    }
    if (phase_ != Phase::startup || sample.limited_by_user) return;
    if (rate_ >= full_rate_ * kGrowth) {
        full_rate_ = rate_;
        stale_rounds_ = 0;
    } else if (++stale_rounds_ >= kStaleRounds || is_long || is_loss_high) {
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
    double pdus_per_second = 0;
    if (phase_ == Phase::startup) {
        limits.window = window_;
        if (rtt_min_.ns > 0) pdus_per_second = kStartupGain * window_ / rtt_min_.to_seconds();
    } else {
        const double window = std::min(kWindowGain * product(), double{kWindowMax});
        limits.window = std::max(static_cast<std::uint32_t>(window), kLeastWindow);
        pdus_per_second = static_cast<double>(rate_) *
                          (phase_ == Phase::drain ? kDrainGain
                                                  : kProbeGains[probe_round_ % kProbeGains.size()]);
    }
    if (timed_out_) limits.window = 1;
    // A user that sent one PDU a round trip so far may send a first window in the next.
    const double least = rtt_min_.ns > 0 ? kFirstWindow / rtt_min_.to_seconds() : 0;
    limits.pdus_per_second = std::max(pdus_per_second, least);
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
