#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "base/instant.hpp"
#include "shim_hv/core/faults.hpp"

// The two ends of one direction of one flow's credit (docs/vmpi.md, "Credits"). Both live on the
// lcore that owns the flow: no allocation, no exception, no atomics.

namespace sluice::shim_hv {

inline constexpr Duration kProbeGapMin = Duration::milliseconds(20);
inline constexpr Duration kProbeGapMax = Duration::seconds(1);

class CreditSender {
  public:
    // A credit of zero: nothing may be sent before the receiver has spoken.
    constexpr void reset() noexcept { *this = CreditSender{}; }

    constexpr std::uint64_t limit() const noexcept { return limit_; }
    constexpr std::uint64_t sent() const noexcept { return sent_; }
    constexpr std::uint64_t available() const noexcept {
        return limit_ > sent_ ? limit_ - sent_ : 0;
    }

    // Charged if there is credit for it.
    bool try_charge(std::uint32_t cost) noexcept {
        const bool enough = sent_ + cost <= limit_ || faulty(Fault::no_backpressure);
        if (enough) [[likely]]
            sent_ += cost;
        return enough;
    }
    // True and charged, or false and the probe timer is running.
    bool try_send(std::uint32_t cost, Instant now) noexcept {
        if (try_charge(cost)) [[likely]]
            return true;
        if (probe_at_.is_never()) {
            gap_ = kProbeGapMin;
            probe_at_ = now + gap_;
        }
        return false;
    }

    // Gives back what a low level could not take after try_send() (its ring was full).
    constexpr void unsend(std::uint32_t cost) noexcept {
        sent_ -= std::min<std::uint64_t>(cost, sent_);
    }

    // True if the limit grew. Limits only grow: an older CREDIT that comes late changes nothing.
    constexpr bool on_credit(std::uint64_t limit) noexcept {
        if (limit <= limit_) return false;
        limit_ = limit;
        probe_at_ = Instant::never();
        return true;
    }

    // When the next CREDIT_PROBE is due; never while nobody waits for credit.
    constexpr Instant next_probe() const noexcept { return probe_at_; }
    constexpr bool probe_due(Instant now) const noexcept { return now >= probe_at_; }
    // A probe with sent() has gone out.
    constexpr void on_probe_sent(Instant now) noexcept {
        gap_ = std::min(gap_ * 2, kProbeGapMax);
        probe_at_ = now + gap_;
    }

  private:
    std::uint64_t limit_ = 0;
    std::uint64_t sent_ = 0;
    Instant probe_at_ = Instant::never();
    Duration gap_ = kProbeGapMin;
};

class CreditReceiver {
  public:
    enum class Arrival : std::uint8_t { accept, overrun };

    constexpr void reset(std::uint64_t window) noexcept {
        *this = CreditReceiver{};
        window_ = window;
    }

    constexpr std::uint64_t window() const noexcept { return window_; }
    constexpr std::uint64_t granted() const noexcept { return granted_; }
    constexpr std::uint64_t received() const noexcept { return received_; }
    constexpr std::uint64_t consumed() const noexcept { return consumed_; }
    constexpr std::uint64_t lost() const noexcept { return lost_; }
    constexpr std::uint64_t overrun() const noexcept { return overrun_; }
    // Units that lie between the ring and the application.
    constexpr std::uint64_t held() const noexcept { return received_ - consumed_; }

    // A message of this cost came. On overrun it is to be dropped; it then counts as lost when the
    // sender asks the next time.
    Arrival on_arrival(std::uint32_t cost) noexcept {
        // The second half holds the memory whatever the first believes: a sender that claims losses
        // it did not have is granted more, but never has more than a window lying here.
        const bool exceeds = received_ + lost_ + cost > granted_ || held() + cost > window_;
        if (exceeds && !faulty(Fault::no_policing)) [[unlikely]] {
            overrun_ += cost;
            return Arrival::overrun;
        }
        received_ += cost;
        return Arrival::accept;
    }

    // Several messages at once: all accepted, or nothing has happened.
    bool on_run(std::uint32_t units) noexcept {
        if (received_ + lost_ + units > granted_ || held() + units > window_) [[unlikely]]
            return false;
        received_ += units;
        return true;
    }

    // The units consumed since the start of the flow: absolute, so that a report may be late, come
    // twice or be skipped. More than was received is clamped.
    constexpr void on_consumed_total(std::uint64_t units) noexcept {
        consumed_ = std::max(consumed_, std::min(units, received_));
    }
    constexpr void on_consumed(std::uint32_t units) noexcept {
        on_consumed_total(consumed_ + units);
    }

    // From here on grants go out; before, the peer must not send.
    constexpr void start() noexcept { started_ = true; }
    constexpr bool started() const noexcept { return started_; }

    // The sender without credit says what it has sent in all. False if that is more than it was
    // granted. Less than has arrived is possible (a probe that was overtaken, a frame that came
    // twice): nothing is missing then, but the sender still needs to hear its limit.
    constexpr bool on_probe(std::uint64_t sent) noexcept {
        if (sent > granted_) return false;
        lost_ = sent > received_ ? sent - received_ : 0;
        answer_probe_ = true;
        return true;
    }

    constexpr bool grant_pending() const noexcept {
        return started_ && (answer_probe_ || next_limit() >= granted_ + std::max<std::uint64_t>(
                                                                           window_ / 2, 1));
    }

    // The limit to send in a CREDIT now, if one is due; it is taken as sent.
    constexpr std::optional<std::uint64_t> grant_due() noexcept {
        if (!grant_pending()) return std::nullopt;
        answer_probe_ = false;
        granted_ = std::max(granted_, next_limit());
        return granted_;
    }

  private:
    constexpr std::uint64_t next_limit() const noexcept { return consumed_ + lost_ + window_; }

    std::uint64_t window_ = 0;
    std::uint64_t granted_ = 0;
    std::uint64_t received_ = 0;
    std::uint64_t consumed_ = 0;
    std::uint64_t lost_ = 0;
    std::uint64_t overrun_ = 0;
    bool started_ = false;
    bool answer_probe_ = false;
};

}  // namespace sluice::shim_hv
