#include "normal_dif/core/efcp/receiver.hpp"

#include <algorithm>
#include <new>

#include "normal_dif/core/faults.hpp"

namespace sluice::efcp {

namespace {

constexpr std::uint64_t kOvertakenMax = 64;

std::uint32_t held_max(const EfcpPolicies& policies, const SeqSpace& space) noexcept {
    if (faults::is_active(faults::Fault::reorder_queue_of_64)) return kRliteReorderMax;
    std::uint64_t most = kSmallWindowMax;
    // What the peer was allowed to send is never dropped for want of room.
    if (policies.window)
        most = std::max<std::uint64_t>(most, policies.window->initial_credit + std::uint64_t{1});
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(most, space.half() - 1));
}

}  // namespace

Receiver::Receiver(const EfcpPolicies& policies, const rina::PciFormat& format) noexcept
    : space_(format.sequence),
      header_bytes_(static_cast<std::uint32_t>(format.bytes())),
      credit_(policies.window ? policies.window->initial_credit : 0),
      held_max_(held_max(policies, space_)),
      policies_(policies),
      reliable_(policies.reliable()),
      in_order_(policies.in_order),
      has_window_(policies.window.has_value()),
      has_sack_(policies.sack),
      may_hold_(policies.a_timer.ns > 0 && policies.in_order),
      next_(policies.initial_sequence),
      dlv_(next_),
      top_(next_),
      run_start_(next_),
      rwe_(next_ + credit_),
      acked_(next_),
      told_lwe_(next_) {}

// ---- what is not simply the next one -----------------------------------------------------------

void Receiver::on_rare(Instant now, std::uint64_t seq, const RxItem& item, Outbox& out) noexcept {
    const bool is_flagged = (item.pci.flags & rina::pci_flag::kDrf) != 0;
    if (flushing_ || (is_start_of_run(seq, is_flagged) && !start_run(seq, is_flagged, out))) {
        out.drop.add({item.token, DropReason::efcp_run_over});
        return;
    }
    if (came_before(seq)) {
        drop_repeated(seq, item, out);
        return;
    }
    if (has_window_ && before(rwe_, seq)) {
        ++stats_.beyond_window;
        out.drop.add({item.token, DropReason::efcp_beyond_window});
        return;
    }
    if (reliable_)
        on_reliable(seq, item, out);
    else if (in_order_)
        on_ordered(now, seq, item, out);
    else
        on_unordered(seq, item, out);
}

// Also of those that came before top_, and of those that nobody waits for any more.
bool Receiver::came_before(std::uint64_t seq) const noexcept {
    if (!reliable_ && !in_order_) {
        const std::uint64_t age = top_ - 1 - seq;
        return before(seq, top_) && (age >= 64 || ((history_ >> age) & 1) != 0);
    }
    return before(seq, next_) || (before(seq, top_) && came_.test(seq));
}

void Receiver::drop_repeated(std::uint64_t seq, const RxItem& item, Outbox& out) noexcept {
    // The history reaches back 64 PDUs.
    const std::uint64_t age = top_ - 1 - seq;
    const bool is_known = age < 64 && ((history_ >> age) & 1) != 0;
    if (!reliable_ && before(seq, next_) && !is_known) {
        ++stats_.late;
        out.drop.add({item.token, DropReason::efcp_late});
        return;
    }
    ++stats_.duplicates;
    out.drop.add({item.token, DropReason::efcp_duplicate});
    if (!reliable_) return;
    // The peer sent it again because it does not know, so it is told at once.
    ack_owed_ = ack_urgent_ = true;
    if (has_sack_ && !before(seq, next_)) log_arrival(seq);
}

// Whether a run starts here: with the flag, unless that PDU is part of the run already (it was
// sent again, or came twice); and without, when nothing is known of a run and losses are borne.
bool Receiver::is_start_of_run(std::uint64_t seq, bool is_flagged) const noexcept {
    if (is_flagged && faults::is_active(faults::Fault::drf_delivered_again)) return true;
    if (drf_expected_ && faults::is_active(faults::Fault::second_starts_run)) return true;
    if (!is_flagged) return drf_expected_ && !reliable_;
    if (drf_expected_) return true;
    // Of a run whose beginning was not seen it may be the beginning, overtaken on the way.
    if (before(seq, next_))
        return before(seq, run_start_) && (is_run_flagged_ || run_start_ - seq > kOvertakenMax);
    return seq == next_ || !(before(seq, top_) && came_.test(seq));
}

// False if what is held of the run before has to be given back first.
bool Receiver::start_run(std::uint64_t seq, bool is_flagged, Outbox& out) noexcept {
    // Not if the flagged PDU is just what others wait for: it was overtaken, or sent again.
    if (seq != next_) {
        deliver_held(out);
        if (dlv_ != next_ || !drop_held(out, DropReason::efcp_run_over)) {
            flushing_ = drf_expected_ = true;
            return false;
        }
        next_ = dlv_ = top_ = seq;
        rwe_ = seq + credit_ - backlog_;
        history_ = 0;
    }
    // The sender starts with the whole credit, whatever was granted before. What a user that has
    // not read since has no room for is dropped all the same.
    rwe_ = later(rwe_, seq + credit_ - backlog_);
    drf_expected_ = false;
    // The first run finds the control PDUs uncounted anyway, unless its first PDU was overtaken.
    run_started_ = is_flagged && stats_.runs > 0;
    run_start_ = seq;
    is_run_flagged_ = is_flagged;
    // As if the first PDU of a run had been told already: rlite starts to count behind it.
    acked_ = seq + 1;
    told_lwe_ = lwe();
    ++stats_.runs;
    return true;
}

void Receiver::accept(std::uint64_t seq, const RxItem& item, Outbox& out) noexcept {
    deliver(out, item.token, seq, item.pci.length);
    ++stats_.received;
    ack_owed_ = true;
}

// All before `to` have come, or are not waited for.
void Receiver::advance(std::uint64_t to) noexcept {
    const std::uint64_t by = to - top_;
    if (before(top_, to)) {
        history_ = by >= 64 ? 0 : history_ << by;
        top_ = to;
    }
    next_ = to;
}

// ---- with retransmission ---------------------------------------------------------------------

void Receiver::on_reliable(std::uint64_t seq, const RxItem& item, Outbox& out) noexcept {
    const bool is_next = seq == next_;
    const bool is_first_of_gap = before(top_, seq);
    // To rlite the first PDU is not flagged when it is sent again. It starts the run all the same:
    // the flagged one, should it still come, would be delivered once more.
    if (is_next) drf_expected_ = false;
    if (is_next && top_ == dlv_) {
        accept(seq, item, out);
        advance(seq + 1);
        dlv_ = next_;
        return;
    }
    if (seq - next_ >= held_max_ || !note_arrival(seq)) {
        if (faults::is_active(faults::Fault::reorder_queue_of_64) && has_sack_) log_arrival(seq);
        out.drop.add({item.token, DropReason::efcp_reorder_full});
        return;
    }
    if (in_order_) {
        ring_[seq] = {item.token, item.pci.length};
        ++stats_.received;
        ++stats_.reordered;
        ack_owed_ = true;
    } else {
        accept(seq, item, out);
    }
    if (!is_next) {
        if (has_sack_) log_arrival(seq);
        ack_urgent_ = ack_urgent_ || (has_sack_ && is_first_of_gap);
        return;
    }
    ack_urgent_ = ack_urgent_ || has_sack_;
    next_ = came_.find(false, next_, top_);
    if (in_order_) {
        deliver_held(out);
    } else {
        came_.clear_range(dlv_, next_);
        dlv_ = next_;
    }
}

// Makes room for it in the ring, and notes that it came.
bool Receiver::note_arrival(std::uint64_t seq) noexcept {
    const std::uint64_t used = top_ - dlv_;
    const std::uint64_t count = std::max(used, seq - dlv_ + 1);
    if ((in_order_ && !ring_.reserve(dlv_, used, count)) || !came_.reserve(dlv_, used, count))
        return false;
    came_.set(seq);
    top_ = later(top_, seq + 1);
    return true;
}

void Receiver::log_arrival(std::uint64_t seq) noexcept {
    if (log_ == nullptr) {
        log_.reset(new (std::nothrow) SackLog);
        if (log_ == nullptr) return;  // the cumulative part still tells
    }
    // New PDUs and retransmissions alternate: each goes on with one of the newest ranges.
    const std::uint32_t look = std::min(log_->count, 3u);
    for (std::uint32_t i = 1; i <= look; ++i) {
        SackBlock& block = log_->blocks[(log_->count - i) % log_->blocks.size()];
        // One that is too old to be told again would keep the arrival to itself.
        if (block.last + 1 == seq) {
            block.last = seq;
            log_->told = std::min(log_->told, log_->count - i);
            return;
        }
    }
    log_->blocks[log_->count++ % log_->blocks.size()] = {seq, seq};
}

void Receiver::on_ack_sent(ControlItem& item) noexcept {
    rwe_ = rwe();
    told_lwe_ = later(told_lwe_, lwe());
    acked_ = next_;
    const bool is_wrong = faults::is_active(faults::Fault::ack_one_too_many) && top_ != next_;
    item.fields.ack = space_.wrap(next_ + is_wrong);
    item.fields.new_rwe = space_.wrap(rwe_);
    item.fields.new_lwe = space_.wrap(told_lwe_);
    ack_owed_ = ack_urgent_ = false;
    item.sack.clear();
    if (log_ == nullptr) return;
    log_->told = log_->count;
    if (top_ == next_) return;
    const auto kept = static_cast<std::uint32_t>(log_->blocks.size());
    for (std::uint32_t i = 1; i <= std::min(log_->count, kept) && !item.sack.full(); ++i) {
        const SackBlock& block = log_->blocks[(log_->count - i) % kept];
        if (before(block.last, next_)) continue;
        item.sack.add({space_.wrap(later(block.first, next_)), space_.wrap(block.last)});
    }
}

// ---- without retransmission ------------------------------------------------------------------

// In order: delivers over gaps that the user can bear, and waits for an A-timer at longer ones.
// rlite drops what lies behind a gap that is too long, and with it all that follows; here the user
// is told and the flow goes on.
void Receiver::on_ordered(Instant now, std::uint64_t seq, const RxItem& item,
                          Outbox& out) noexcept {
    const std::uint64_t gap = seq - next_;
    if (top_ == dlv_ && (is_gap_fine(gap) || !may_hold_)) {
        if (!is_gap_fine(gap)) {
            ++stats_.gaps_exceeded;
            out.events |= event::kGapExceeded;
        }
        accept(seq, item, out);
        advance(seq + 1);
        history_ |= 1;
        dlv_ = next_;
        return;
    }
    if (gap >= held_max_ || !note_arrival(seq)) {
        out.drop.add({item.token, DropReason::efcp_reorder_full});
        return;
    }
    ring_[seq] = {item.token, item.pci.length};
    ++stats_.received;
    ++stats_.reordered;
    ack_owed_ = true;
    if (hold_until_.is_never()) hold_until_ = now + policies_.a_timer;
    close_gaps(false, out);
}

void Receiver::close_gaps(bool is_out_of_time, Outbox& out) noexcept {
    while (next_ != top_) {
        const std::uint64_t first = came_.find(true, next_, top_);
        if (!is_gap_fine(first - next_)) {
            if (!is_out_of_time) break;
            ++stats_.gaps_exceeded;
            out.events |= event::kGapExceeded;
        }
        next_ = came_.find(false, first, top_);
    }
    if (next_ == top_) hold_until_ = Instant::never();
    history_ = 0;
    deliver_held(out);
}

void Receiver::on_unordered(std::uint64_t seq, const RxItem& item, Outbox& out) noexcept {
    if (before(seq, top_)) {
        ++stats_.late;
        // Its place in the window may have been granted again since it was taken for lost.
        const auto granted = static_cast<std::int64_t>(rwe_ - top_);
        if (has_window_ && backlog_ + granted >= std::int64_t{credit_}) {
            out.drop.add({item.token, DropReason::efcp_late});
            return;
        }
        history_ |= std::uint64_t{1} << (top_ - 1 - seq);
        accept(seq, item, out);
        return;
    }
    if (!is_gap_fine(seq - top_)) {
        ++stats_.gaps_exceeded;
        out.events |= event::kGapExceeded;
    }
    accept(seq, item, out);
    advance(seq + 1);
    history_ |= 1;
    dlv_ = next_;
}

void Receiver::on_sender_lwe(std::uint64_t wire_lwe) noexcept {
    ack_owed_ = ack_urgent_ = true;
    if (reliable_) return;
    const std::uint64_t lwe = space_.unwrap(wire_lwe, next_);
    // Of a run for whose PDUs there was no room it has sent as many as it starts with all the same.
    const std::uint64_t sent_at_most = later(rwe_, run_start_ + credit_) + 1;
    if (!before(next_, lwe) || (has_window_ && before(sent_at_most, lwe))) return;
    if (top_ == dlv_) {
        advance(lwe);
        dlv_ = next_;
        return;
    }
    const std::uint64_t used = top_ - dlv_;
    if (!came_.reserve(dlv_, used, std::max(used, lwe - dlv_)) ||
        !ring_.reserve(dlv_, used, std::max(used, lwe - dlv_)))
        return;
    top_ = later(top_, lwe);
    next_ = came_.find(false, lwe, top_);
    if (next_ == top_) hold_until_ = Instant::never();
}

// ---- what waits ----------------------------------------------------------------------------

void Receiver::deliver_held(Outbox& out) noexcept {
    while (dlv_ != next_ && !out.deliver.full()) {
        dlv_ = came_.find(true, dlv_, next_);
        if (dlv_ == next_) break;
        const Held& held = ring_[dlv_];
        deliver(out, held.token, dlv_, held.bytes);
        if (faults::is_active(faults::Fault::lwe_stays_behind)) ++backlog_;
        came_.clear(dlv_);
        ++dlv_;
        // Delivered is as good as received for the window.
        ack_owed_ = true;
    }
}

void Receiver::run(Instant now, Outbox& out) noexcept {
    if (now >= hold_until_) close_gaps(true, out);
    deliver_held(out);
    if (flushing_ && dlv_ == next_ && drop_held(out, DropReason::efcp_run_over)) flushing_ = false;
}

// Of [dlv_, top_). What comes next stays what comes next.
bool Receiver::drop_held(Outbox& out, DropReason reason) noexcept {
    for (std::uint64_t seq = dlv_; seq != top_; ++seq) {
        seq = came_.find(true, seq, top_);
        if (seq == top_) break;
        if (in_order_) {
            if (out.drop.full()) return false;
            out.drop.add({ring_[seq].token, reason});
        }
        came_.clear(seq);
    }
    forget_held();
    return true;
}

void Receiver::forget_held() noexcept {
    dlv_ = top_ = next_;
    hold_until_ = Instant::never();
    log_.reset();
}

void Receiver::expect_run() noexcept {
    drf_expected_ = true;
    if (is_holding()) {
        flushing_ = true;
        return;
    }
    // An idle flow gives its memory back.
    ring_.release();
    came_.release();
    log_.reset();
}

bool Receiver::flush(Outbox& out, DropReason reason) noexcept {
    if (faults::is_active(faults::Fault::held_not_freed)) forget_held();
    return drop_held(out, reason);
}

}  // namespace sluice::efcp
