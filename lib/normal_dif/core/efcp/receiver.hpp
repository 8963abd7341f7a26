#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "normal_dif/core/efcp/outbox.hpp"
#include "normal_dif/core/efcp/policies.hpp"
#include "normal_dif/core/efcp/seq.hpp"
#include "normal_dif/core/efcp/seq_ring.hpp"
#include "normal_dif/core/faults.hpp"

namespace sluice::efcp {

struct ReceiverStats {
    std::uint64_t received = 0;    // data PDUs that were not dropped
    std::uint64_t delivered = 0;
    std::uint64_t duplicates = 0;
    std::uint64_t reordered = 0;  // had to wait for others
    std::uint32_t late = 0;       // came after the ones behind them were delivered
    std::uint32_t beyond_window = 0;
    std::uint32_t gaps_exceeded = 0;
    std::uint32_t runs = 0;
};

// The receiving half of a connection: order, duplicates, gaps, the window granted to the peer and
// what is to be acknowledged. O(1) for each PDU.
class Receiver {
  public:
    // The policies must outlive it.
    Receiver(const EfcpPolicies& policies, const rina::PciFormat& format) noexcept;

    // A data PDU of the peer. The caller has seen that out.deliver and out.drop are not full.
    void on_data(Instant now, const RxItem& item, Outbox& out) noexcept {
        const std::uint64_t seq = space_.unwrap(item.pci.sequence, next_);
        const bool is_plain = seq == top_ && dlv_ == top_ && !drf_expected_ &&
                              (item.pci.flags & rina::pci_flag::kDrf) == 0 &&
                              !(has_window_ && before(rwe_, seq));
        if (!is_plain) [[unlikely]] {
            on_rare(now, seq, item, out);
            return;
        }
        next_ = top_ = dlv_ = seq + 1;
        history_ = history_ << 1 | 1;
        deliver(out, item.token, seq, item.pci.length);
        ack_owed_ = true;
        ++stats_.received;
    }

    // The user is done with so many of the SDUs (PDUs) delivered.
    void on_consumed(std::uint32_t pdus) noexcept {
        backlog_ -= pdus < backlog_ ? pdus : backlog_;
        ack_owed_ = true;
    }

    // What waits: delivers as far as there is room, and gives up waiting when time has come.
    void run(Instant now, Outbox& out) noexcept;
    bool needs_run() const noexcept { return dlv_ != next_ || flushing_; }
    Instant next_deadline() const noexcept { return hold_until_; }

    // Nothing came for 2 delta-t: the peer may start another run at any number.
    void expect_run() noexcept;
    // The peer says, of a flow without retransmission, that nothing before it comes any more.
    void on_sender_lwe(std::uint64_t wire_lwe) noexcept;
    // Gives all tokens back as dropped, as far as there is room. True if none is left.
    bool flush(Outbox& out, DropReason reason) noexcept;

    // What to tell the peer, and that it was told.
    std::uint64_t next() const noexcept { return next_; }
    std::uint64_t lwe() const noexcept {
        return faults::is_active(faults::Fault::window_ignores_user) ? dlv_ : dlv_ - backlog_;
    }
    std::uint64_t rwe() const noexcept { return later(rwe_, lwe() + credit_); }
    bool is_ack_owed() const noexcept { return ack_owed_; }
    // Enough came or was consumed since then, by this threshold.
    bool is_ack_due(std::uint32_t threshold) const noexcept {
        const auto acked = static_cast<std::int64_t>(next_ - acked_);
        const auto moved = static_cast<std::int64_t>(lwe() - told_lwe_);
        return acked >= threshold || (has_window_ && moved >= threshold) || is_log_full();
    }
    // A gap, a duplicate: the peer should know now.
    bool is_ack_urgent() const noexcept { return ack_urgent_; }
    // More came above gaps than one PDU can tell.
    bool is_log_full() const noexcept {
        return log_ != nullptr && log_->count - log_->told >= kSackBlocksMax;
    }
    // Fills in what it tells; the item is sent.
    void on_ack_sent(ControlItem& item) noexcept;

    bool is_holding() const noexcept { return top_ != dlv_; }
    bool is_run_expected() const noexcept { return drf_expected_; }
    bool was_run_started() noexcept {
        const bool was = run_started_;
        run_started_ = false;
        return was;
    }
    std::uint32_t backlog() const noexcept { return backlog_; }
    const ReceiverStats& stats() const noexcept { return stats_; }

  private:
    struct Held {
        PduToken token;
        std::uint32_t bytes;
    };
    // Ranges that came above a gap, newest last; told several times, as control PDUs may be lost.
    struct SackLog {
        std::array<SackBlock, 2 * kSackBlocksMax> blocks;
        std::uint32_t count = 0;  // ever; the newest is at (count - 1) modulo their number
        std::uint32_t told = 0;
    };

    void deliver(Outbox& out, PduToken token, std::uint64_t seq, std::uint32_t length) noexcept {
        out.deliver.add({token, seq, length - header_bytes_});
        ++backlog_;
        ++stats_.delivered;
    }
    void on_rare(Instant now, std::uint64_t seq, const RxItem& item, Outbox& out) noexcept;
    bool is_start_of_run(std::uint64_t seq, bool is_flagged) const noexcept;
    bool start_run(std::uint64_t seq, bool is_flagged, Outbox& out) noexcept;
    void on_reliable(std::uint64_t seq, const RxItem& item, Outbox& out) noexcept;
    void on_ordered(Instant now, std::uint64_t seq, const RxItem& item, Outbox& out) noexcept;
    void on_unordered(std::uint64_t seq, const RxItem& item, Outbox& out) noexcept;
    void accept(std::uint64_t seq, const RxItem& item, Outbox& out) noexcept;
    void advance(std::uint64_t to) noexcept;
    bool came_before(std::uint64_t seq) const noexcept;
    bool is_gap_fine(std::uint64_t gap) const noexcept {
        return policies_.max_sdu_gap < 0 ||
               gap <= static_cast<std::uint64_t>(policies_.max_sdu_gap);
    }
    bool hold(std::uint64_t seq, const RxItem& item, Outbox& out) noexcept;
    bool note_arrival(std::uint64_t seq) noexcept;
    void drop_repeated(std::uint64_t seq, const RxItem& item, Outbox& out) noexcept;
    void close_gaps(bool is_out_of_time, Outbox& out) noexcept;
    void deliver_held(Outbox& out) noexcept;
    bool drop_held(Outbox& out, DropReason reason) noexcept;
    void forget_held() noexcept;
    void log_arrival(std::uint64_t seq) noexcept;

    // What does not change.
    SeqSpace space_;
    std::uint32_t header_bytes_;
    std::uint32_t credit_;
    std::uint32_t held_max_;
    const EfcpPolicies& policies_;
    bool reliable_;
    bool in_order_;
    bool has_window_;
    bool has_sack_;
    bool may_hold_;

    bool drf_expected_ = true;
    bool run_started_ = false;
    bool is_run_flagged_ = false;
    bool ack_owed_ = false;
    bool ack_urgent_ = false;
    bool flushing_ = false;
    std::uint64_t next_;       // all before it have come or are not waited for
    std::uint64_t dlv_;        // all before it are delivered
    std::uint64_t top_;        // one behind the greatest that came
    std::uint64_t run_start_;
    std::uint64_t rwe_;        // last told
    std::uint64_t acked_;      // last told
    std::uint64_t told_lwe_;   // last told
    std::uint32_t backlog_ = 0;  // delivered and not consumed
    std::uint64_t history_ = 0;  // which of the 64 before top_ came; unordered delivery
    Instant hold_until_ = Instant::never();
    SeqRing<Held> ring_;
    SeqBits came_;
    std::unique_ptr<SackLog> log_;
    ReceiverStats stats_;
};

}  // namespace sluice::efcp
