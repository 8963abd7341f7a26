#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "normal_dif/core/efcp/congestion.hpp"
#include "normal_dif/core/efcp/outbox.hpp"
#include "normal_dif/core/efcp/pacer.hpp"
#include "normal_dif/core/efcp/policies.hpp"
#include "normal_dif/core/efcp/rtt.hpp"
#include "normal_dif/core/efcp/seq.hpp"
#include "normal_dif/core/efcp/seq_ring.hpp"

namespace sluice::efcp {

struct SenderStats {
    std::uint64_t sent = 0;           // data PDUs, first transmissions
    std::uint64_t retransmitted = 0;
    std::uint64_t acked = 0;
    std::uint32_t timeouts = 0;
    std::uint32_t spurious = 0;  // retransmissions that were not needed after all
};

// The sending half of a connection: numbers, window, rate, retransmission, congestion. All is O(1)
// for each PDU and each PDU acknowledged, whatever the window; a call does as much as its outbox
// has room for, and needs_run() says that there is more.
class Sender {
  public:
    // Policies and header must outlive it.
    Sender(const EfcpPolicies& policies, const rina::PciFormat& format,
           const rina::Pci& header) noexcept;

    // Takes the first so many; the others are refused until event::kWritable.
    std::size_t submit(Instant now, std::span<const TxItem> items, Outbox& out) noexcept {
        std::size_t taken = 0;
        if (is_idle_path()) [[likely]]
            taken = transmit_new(now, items, out);
        if (taken < items.size()) [[unlikely]]
            taken += enqueue(now, items.subspan(taken), out);
        return taken;
    }

    // A control PDU: what is on the wire, without PCI. False if it makes no sense.
    bool on_control(Instant now, std::uint8_t type, const rina::ControlPdu& fields,
                    bool is_marked) noexcept;
    void on_sack(Instant now, const SackBlock& wire_block) noexcept;

    // Gives back what was acknowledged, finds losses, sends what may be sent.
    void run(Instant now, Outbox& out) noexcept;
    // There is more to do right now.
    bool needs_run() const noexcept { return more_; }
    // When run() has something to do by itself.
    Instant next_deadline() const noexcept;

    // The window has been closed for so long that the peer should be asked.
    bool is_probe_due(Instant now) const noexcept { return now >= probe_at_; }
    void on_probe_sent(Instant now) noexcept;

    // Nothing was sent for 3 delta-t: the peer knows nothing of this run any more. The next PDU
    // starts another.
    void start_run() noexcept;

    // Gives all tokens back as dropped, as far as there is room. True if none is left.
    bool flush(Outbox& out, DropReason reason) noexcept;

    bool empty() const noexcept { return outstanding() == 0 && queue_head_ == queue_tail_; }
    bool has_given_up() const noexcept { return gave_up_; }
    bool has_exhausted_retries() const noexcept { return exhausted_; }
    // SDUs that the peer is not known to have (of a flow without retransmission: not yet sent).
    std::uint32_t undelivered() const noexcept {
        return static_cast<std::uint32_t>(outstanding()) - sacked_count_ + queue_length();
    }

    std::uint64_t outstanding() const noexcept { return reliable_ ? next_ - una_ : 0; }
    std::uint32_t in_flight() const noexcept { return in_flight_; }
    std::uint32_t queue_length() const noexcept { return queue_tail_ - queue_head_; }
    std::uint64_t next_sequence() const noexcept { return next_; }
    std::uint64_t unacked() const noexcept { return una_; }
    std::uint64_t window_edge() const noexcept { return rwe_; }
    std::uint64_t told_lwe() const noexcept { return told_lwe_; }
    bool is_run_pending() const noexcept { return drf_pending_; }
    Instant active_at() const noexcept { return active_at_; }
    // As it is before the first sample, of a flow that has nothing to measure.
    RttEstimator rtt() const noexcept;
    CongestionLimits limits() const noexcept;
    const SenderStats& stats() const noexcept { return stats_; }

  private:
    enum class State : std::uint8_t { in_flight, lost, delivered };
    // One PDU that may have to be sent again.
    struct Slot {
        PduToken token;
        std::int64_t sent_ns;  // for the last time
        std::uint32_t tx;      // which transmission of the connection that was
        std::uint32_t bytes;   // the whole PDU
        State state;
        std::uint8_t retries;
        bool starts_run;
    };
    static_assert(sizeof(Slot) == 32);
    // What a flow with retransmission knows of its path, from the first PDU on. After so long a
    // time without traffic that another run starts, it would not be true any more.
    struct Path {
        RttEstimator rtt;
        CongestionPolicy congestion;
        Pacer pacer;                         // of congestion control
        SeqRing<std::uint64_t> lost_queue;   // in the order in which they were found
        SeqRing<std::uint64_t> resent_queue;  // in the order in which they were sent again
        SeqBits sacked;

        Path(const RttEstimator& estimator, const CongestionPolicy& policy) noexcept
            : rtt(estimator), congestion(policy) {}
    };
    // A loss is found by so many later transmissions that arrived; more if the path reorders.
    static constexpr std::uint32_t kReorderLeast = 3;
    static constexpr std::uint32_t kReorderMost = 256;

    bool has_path() noexcept { return path_ != nullptr || make_path(); }
    bool make_path() noexcept;
    bool is_idle_path() const noexcept {
        return queue_head_ == queue_tail_ && lost_ == 0 && !gave_up_;
    }
    std::uint32_t room(Instant now, bool is_new) const noexcept;
    std::uint32_t room_of_rlite() const noexcept;
    std::size_t transmit_new(Instant now, std::span<const TxItem> items, Outbox& out) noexcept;
    void emit(Outbox& out, PduToken token, std::uint64_t seq, std::uint32_t bytes,
              bool starts_run) const noexcept;
    std::size_t enqueue(Instant now, std::span<const TxItem> items, Outbox& out) noexcept;

    void on_ack(Instant now, std::uint64_t ack, bool is_repeated) noexcept;
    void on_partial_ack(Instant now) noexcept;
    void enter_recovery() noexcept;
    void mark_delivered(Instant now, Slot& slot) noexcept;
    bool push_lost(std::uint64_t seq) noexcept;
    bool mark_lost(std::uint64_t seq, Slot& slot) noexcept;
    void release_acked(Instant now, Outbox& out) noexcept;
    bool is_overdue(const Slot& slot) const noexcept;
    void find_losses() noexcept;
    void report(Instant now) noexcept;
    bool resend(Instant now, std::uint64_t seq, Outbox& out) noexcept;
    void retransmit(Instant now, Outbox& out) noexcept;
    void drain_queue(Instant now, Outbox& out) noexcept;
    void on_rtx_timer(Instant now) noexcept;
    Instant oldest_sent() const noexcept;
    void arm(Instant now) noexcept;

    // What does not change.
    const rina::Pci& header_;
    const EfcpPolicies& policies_;
    SeqSpace space_;
    std::uint32_t header_bytes_;
    std::uint32_t outstanding_max_;
    bool reliable_;
    bool has_window_;
    bool has_sack_;
    bool is_rlite_;
    bool is_congestion_controlled_;

    // Numbers.
    bool drf_pending_ = true;
    bool more_ = false;
    bool gave_up_ = false;
    bool exhausted_ = false;
    bool refused_ = false;
    bool limited_by_user_ = true;
    bool marked_ = false;
    bool is_new_event_ = false;
    bool is_sample_stale_ = false;
    std::uint8_t repeated_acks_ = 0;
    std::uint64_t next_;
    std::uint64_t una_;       // all before it are acknowledged and given back
    std::uint64_t acked_to_;  // all before it are acknowledged
    std::uint64_t rwe_;       // the last that may be sent
    std::uint64_t told_lwe_;
    std::uint64_t run_start_;
    std::uint64_t scan_;      // first transmissions before it are acknowledged or were found lost
    std::uint64_t recovery_;  // losses before it belong to one event; far behind: none so far

    // Transmissions.
    std::uint32_t tx_next_ = 0;
    std::uint32_t tx_high_ = 0;   // one behind the last known to have arrived
    std::uint32_t tx_round_ = 0;  // the round ends when this one has arrived
    std::uint32_t reorder_ = kReorderLeast;
    std::int64_t overdue_ns_;     // whatever was sent until then is taken for lost
    std::uint32_t in_flight_ = 0;
    std::uint32_t lost_ = 0;      // found lost and not sent again yet
    std::uint32_t sacked_count_ = 0;

    // Since the last report to congestion control, and in this round.
    std::uint32_t new_delivered_ = 0;
    std::uint32_t new_lost_ = 0;
    std::uint32_t round_delivered_ = 0;
    std::uint32_t round_lost_ = 0;
    Instant round_at_{};
    Instant sample_sent_ = Instant{-1};  // newest PDU of this acknowledgement that was sent once
    std::uint32_t window_;  // of congestion control, PDUs

    // Of the three queues; they roll over with the rings.
    std::uint32_t queue_head_ = 0, queue_tail_ = 0;
    std::uint32_t lost_head_ = 0, lost_tail_ = 0;
    std::uint32_t resent_head_ = 0, resent_tail_ = 0;
    SeqRing<TxItem> queue_;
    SeqRing<Slot> slots_;
    std::unique_ptr<Path> path_;
    Pacer rate_pacer_;

    // Timers.
    Instant rtx_at_ = Instant::never();
    Instant give_up_at_ = Instant::never();
    Instant pace_at_ = Instant::never();
    Instant probe_at_ = Instant::never();
    Duration probe_gap_{};
    Instant active_at_ = Instant::never();

    SenderStats stats_;
};

}  // namespace sluice::efcp
