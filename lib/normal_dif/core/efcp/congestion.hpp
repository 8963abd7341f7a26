#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <limits>
#include <variant>

#include "base/instant.hpp"
#include "normal_dif/core/efcp/policies.hpp"

// Congestion control as a policy: told what was delivered and lost, it says how many PDUs may be
// under way and, if it wants to, how fast they may follow each other. Asked once for each burst of
// acknowledgements.
namespace sluice::efcp {

struct AckSample {
    Instant now{};
    std::uint32_t delivered = 0;  // newly acknowledged
    std::uint32_t lost = 0;       // newly found lost
    std::uint32_t in_flight = 0;  // after both
    // The sender had less to send than it was allowed to.
    bool limited_by_user = false;
    bool recovering = false;  // a loss of this window is already being made good
    bool marked = false;      // the network told of congestion (ECN)
    Duration rtt{};           // smoothed; 0: not known yet
    Duration rtt_min{};
    // Once in a round trip: what was delivered and lost in it.
    bool round_ended = false;
    Duration round_time{};
    std::uint32_t round_delivered = 0;
    std::uint32_t round_lost = 0;
};

struct CongestionLimits {
    static constexpr std::uint32_t kAny = std::numeric_limits<std::uint32_t>::max();
    std::uint32_t window = kAny;     // PDUs
    double pdus_per_second = 0;      // 0: as the window allows
};

template <typename T>
concept CongestionControl = requires(T policy, const AckSample& sample) {
    { policy.on_ack(sample) } noexcept;
    { policy.on_timeout() } noexcept;
    { policy.limits() } noexcept -> std::same_as<CongestionLimits>;
};

class NoCongestionControl {
  public:
    void on_ack(const AckSample&) noexcept {}
    void on_timeout() noexcept {}
    CongestionLimits limits() const noexcept { return {}; }
};

// Slow start, congestion avoidance and one halving for each window with a loss (RFC 5681, 6582).
class Aimd {
  public:
    static constexpr std::uint32_t kFirstWindow = 10;  // RFC 6928
    static constexpr std::uint32_t kLeastWindow = 2;

    void on_ack(const AckSample& sample) noexcept;
    void on_timeout() noexcept;
    CongestionLimits limits() const noexcept { return {window_, 0}; }

  private:
    std::uint32_t window_ = kFirstWindow;
    std::uint32_t threshold_ = CongestionLimits::kAny;
    std::uint32_t acked_ = 0;  // since the window last grew
};

// Sends at the rate at which the path delivers: the greatest of the last rounds, probed upwards
// every eighth round and given back in the next (as BBR, Cardwell et al., ACM Queue 14(5), 2016).
// Random loss alone does not slow it down; loss with a grown round trip time does. It starts with a
// window that doubles in each round trip, slower once the path delays (as HyStart++, RFC 9406),
// until more under way makes the path deliver no more.
class RateEstimate {
  public:
    static constexpr std::uint32_t kFirstWindow = 32;
    static constexpr std::uint32_t kLeastWindow = 16;  // more than what one acknowledgement is for
    static constexpr std::size_t kRounds = 10;

    void on_ack(const AckSample& sample) noexcept;
    void on_timeout() noexcept;
    CongestionLimits limits() const noexcept;

  private:
    enum class Phase : std::uint8_t { startup, drain, probe };

    void grow(const AckSample& sample) noexcept;
    void on_round(const AckSample& sample) noexcept;
    void add_rate(const AckSample& sample) noexcept;
    bool is_queue_long(const AckSample& sample) const noexcept;
    double product() const noexcept;

    std::array<float, kRounds> rates_{};  // PDUs a second
    float rate_ = 0;                      // their greatest
    float full_rate_ = 0;                 // startup: the rate that no longer grows
    Duration rtt_min_{};
    std::uint32_t window_ = kFirstWindow;  // of startup
    std::uint8_t rate_at_ = 0;      // where the newest is
    std::uint8_t probe_round_ = 0;  // of eight
    std::uint8_t stale_rounds_ = 0;
    Phase phase_ = Phase::startup;
    bool is_after_startup_ = false;  // until the round has ended
    bool timed_out_ = false;
};

using CongestionPolicy = std::variant<NoCongestionControl, Aimd, RateEstimate>;
static_assert(CongestionControl<NoCongestionControl> && CongestionControl<Aimd> &&
              CongestionControl<RateEstimate>);

CongestionPolicy make_congestion(Congestion kind) noexcept;

}  // namespace sluice::efcp
