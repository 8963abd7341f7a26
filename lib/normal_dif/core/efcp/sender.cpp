#include "normal_dif/core/efcp/sender.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <new>

#include "normal_dif/core/efcp/control_pdu.hpp"
#include "normal_dif/core/faults.hpp"

namespace sluice::efcp {

namespace {

constexpr std::uint32_t kAny = std::numeric_limits<std::uint32_t>::max();
// A timeout below what a scheduler or a busy peer needs would fire for nothing.
constexpr Duration kTimeoutLeast = Duration::milliseconds(10);
constexpr Duration kProbeLeast = Duration::milliseconds(20);
constexpr Duration kProbeMost = Duration::seconds(1);
// Long enough for one wake-up to send a good burst, short enough for small buffers on the way.
constexpr Duration kPaceTolerance = Duration::microseconds(100);
constexpr Duration kRateToleranceMost = Duration::milliseconds(1);
// rlite repeats an acknowledgement at most once in its A-timer.
constexpr std::uint8_t kRepeatedAcks = 2;

std::uint32_t outstanding_max(const EfcpPolicies& policies, const SeqSpace& space) noexcept {
    std::uint64_t most = kSmallWindowMax;
    if (policies.window && policies.large_windows)
        most = std::max<std::uint64_t>(most, policies.window->initial_credit + std::uint64_t{1});
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(most, space.half() - 1));
}

}  // namespace

Sender::Sender(const EfcpPolicies& policies, const rina::PciFormat& format,
               const rina::Pci& header) noexcept
    : header_(header),
      policies_(policies),
      space_(format.sequence),
      header_bytes_(static_cast<std::uint32_t>(format.bytes())),
      outstanding_max_(outstanding_max(policies, space_)),
      reliable_(policies.reliable()),
      has_window_(policies.window.has_value()),
      has_sack_(policies.sack),
      is_rlite_(policies.dialect == Dialect::rlite),
      is_congestion_controlled_(policies.congestion != Congestion::none),
      next_(policies.initial_sequence),
      una_(next_),
      acked_to_(next_),
      rwe_(next_ + (policies.window ? policies.window->initial_credit : 0)),
      told_lwe_(next_),
      run_start_(next_),
      scan_(next_),
      recovery_(next_ - (std::uint64_t{1} << 62)),
      overdue_ns_(std::numeric_limits<std::int64_t>::min()),
      window_(kAny) {
    window_ = limits().window;
    if (policies.rate)
        rate_pacer_.set_rate(policies.rate->pdus / policies.rate->period.to_seconds(),
                             std::min(policies.rate->period / 8, kRateToleranceMost));
}

RttEstimator Sender::rtt() const noexcept {
    if (path_ != nullptr) return path_->rtt;
    return {reliable_ ? policies_.retransmission->initial_timeout : kProbeMost,
            std::max(policies_.a_timer * 2, kTimeoutLeast)};
}

CongestionLimits Sender::limits() const noexcept {
    const auto limits_of = [](const auto& policy) { return policy.limits(); };
    return path_ != nullptr ? std::visit(limits_of, path_->congestion)
                            : std::visit(limits_of, make_congestion(policies_.congestion));
}

// Out of line: once in a run.
[[gnu::noinline]] bool Sender::make_path() noexcept {
    path_.reset(new (std::nothrow) Path(rtt(), make_congestion(policies_.congestion)));
    return path_ != nullptr;
}

// ---- sending -----------------------------------------------------------------------------------

// How many may be sent now: for the first time, or again.
std::uint32_t Sender::room(Instant now, bool is_new) const noexcept {
    std::uint64_t most = in_flight_ < window_ ? window_ - in_flight_ : 0;
    if (is_new) {
        if (has_window_) most = std::min(most, before(rwe_, next_) ? 0 : rwe_ - next_ + 1);
        if (reliable_) {
            const std::uint64_t used = next_ - una_;
            most = std::min<std::uint64_t>(most,
                                           used < outstanding_max_ ? outstanding_max_ - used : 0);
            if (is_rlite_) most = std::min<std::uint64_t>(most, room_of_rlite());
            if (faults::is_active(faults::Fault::lwe_stays_behind) && stats_.retransmitted > 0)
                most = std::min(most, before(next_, told_lwe_ + 4) ? told_lwe_ + 4 - next_ : 0);
        }
    }
    if (most == 0) return 0;
    if (path_ != nullptr) most = std::min<std::uint64_t>(most, path_->pacer.room(now));
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(most, rate_pacer_.room(now)));
}

// rlite's receiver starts anew at whatever comes first, so PDU 1 must not overtake PDU 0; and it
// keeps 64 PDUs beyond a lost one, so that more of them would be sent for nothing where losses are
// frequent.
std::uint32_t Sender::room_of_rlite() const noexcept {
    if (drf_pending_) return 1;
    if (una_ == run_start_ && una_ != next_) return 0;
    if (next_ - recovery_ > 16 * kRliteReorderMax) return kAny;
    const std::uint64_t used = next_ - una_;
    return used <= kRliteReorderMax ? static_cast<std::uint32_t>(kRliteReorderMax + 1 - used) : 0;
}

void Sender::emit(Outbox& out, PduToken token, std::uint64_t seq, std::uint32_t bytes,
                  bool starts_run) const noexcept {
    SendItem& item = out.send.add();
    item.token = token;
    item.pci = header_;
    item.pci.sequence = space_.wrap(seq);
    item.pci.length = bytes;
    if (starts_run) item.pci.flags |= rina::pci_flag::kDrf;
    item.kept = reliable_;
}

std::size_t Sender::transmit_new(Instant now, std::span<const TxItem> items,
                                 Outbox& out) noexcept {
    const std::size_t n =
        std::min({items.size(), out.send.room(), std::size_t{room(now, true)}});
    if (n == 0) return 0;
    if (reliable_) {
        const std::uint64_t used = next_ - una_;
        if (!has_path() || !slots_.reserve(una_, used, used + n)) [[unlikely]]
            return 0;
        if (used == 0) {
            give_up_at_ = now + policies_.retransmission->give_up();
            round_at_ = now;
            tx_round_ = tx_next_;
            round_delivered_ = round_lost_ = 0;
        }
    }
    if (drf_pending_) run_start_ = next_;
    for (std::size_t i = 0; i < n; ++i) {
        const TxItem& item = items[i];
        const std::uint32_t bytes = header_bytes_ + item.bytes;
        const std::uint64_t seq = next_++;
        if (reliable_)
            slots_[seq] = {item.token, now.ns, tx_next_++, bytes, State::in_flight, 0,
                           drf_pending_};
        emit(out, item.token, seq, bytes, drf_pending_);
        drf_pending_ = false;
    }
    const auto sent = static_cast<std::uint32_t>(n);
    if (reliable_) {
        in_flight_ += sent;
        if (rtx_at_.is_never()) rtx_at_ = now + path_->rtt.timeout();
        path_->pacer.on_sent(now, sent);
    }
    rate_pacer_.on_sent(now, sent);
    active_at_ = now;
    stats_.sent += n;
    return n;
}

std::size_t Sender::enqueue(Instant now, std::span<const TxItem> items, Outbox& out) noexcept {
    if (gave_up_) return 0;
    const std::uint32_t used = queue_length();
    const std::size_t n = std::min<std::size_t>(items.size(), policies_.queue_max() - used);
    refused_ = refused_ || n < items.size();
    if (n == 0 || !queue_.reserve(queue_head_, used, used + n)) return 0;
    for (std::size_t i = 0; i < n; ++i) queue_[queue_tail_++] = items[i];
    limited_by_user_ = false;
    arm(now);
    if (out.send.full()) more_ = true;
    return n;
}

void Sender::drain_queue(Instant now, Outbox& out) noexcept {
    while (queue_head_ != queue_tail_) {
        // As far as the entries lie behind each other.
        const std::uint64_t at = queue_head_ & (queue_.capacity() - 1);
        const std::uint64_t straight =
            std::min<std::uint64_t>(queue_length(), queue_.capacity() - at);
        const std::size_t sent =
            transmit_new(now, {&queue_[queue_head_], static_cast<std::size_t>(straight)}, out);
        if (sent == 0) {
            more_ = more_ || out.send.full();
            break;
        }
        queue_head_ += static_cast<std::uint32_t>(sent);
    }
    if (refused_ && queue_length() * 2 <= policies_.queue_max()) {
        refused_ = false;
        out.events |= event::kWritable;
    }
    if (queue_head_ == queue_tail_ && in_flight_ < window_) limited_by_user_ = true;
}

// False if it cannot be sent again: too often, or no memory.
bool Sender::resend(Instant now, std::uint64_t seq, Outbox& out) noexcept {
    Slot& slot = slots_[seq];
    if (slot.retries >= policies_.retransmission->retries_max) {
        gave_up_ = exhausted_ = true;
        return false;
    }
    if (has_sack_) {
        const std::uint32_t used = resent_tail_ - resent_head_;
        if (!path_->resent_queue.reserve(resent_head_, used, used + 1)) return false;
        path_->resent_queue[resent_tail_++] = seq;
    }
    ++slot.retries;
    slot.state = State::in_flight;
    slot.tx = tx_next_++;
    slot.sent_ns = now.ns;
    --lost_;
    ++in_flight_;
    // rlite delivers a second PDU with the flag again; without, it drops and acknowledges it.
    const bool is_wrong =
        faults::is_active(faults::Fault::wrong_payload_resent) && seq + 1 != next_;
    const Slot& sent = is_wrong ? slots_[seq + 1] : slot;
    emit(out, sent.token, seq, sent.bytes, slot.starts_run && !is_rlite_);
    path_->pacer.on_sent(now, 1);
    rate_pacer_.on_sent(now, 1);
    active_at_ = now;
    ++stats_.retransmitted;
    return true;
}

void Sender::retransmit(Instant now, Outbox& out) noexcept {
    if (lost_ == 0) {
        lost_head_ = lost_tail_;
        return;
    }
    // What all others wait for does not wait for a window (RFC 6675, section 5).
    if (una_ != next_ && slots_[una_].state == State::lost && rate_pacer_.room(now) > 0) {
        if (out.send.full())
            more_ = true;
        else
            resend(now, una_, out);
    }
    std::uint32_t most = room(now, false);
    while (lost_head_ != lost_tail_ && !gave_up_) {
        const std::uint64_t seq = path_->lost_queue[lost_head_];
        const bool is_lost = !before(seq, una_) && slots_[seq].state == State::lost;
        if (is_lost) {
            if (most == 0 || (is_rlite_ && before(una_ + kRliteReorderMax, seq))) break;
            if (out.send.full()) {
                more_ = true;
                break;
            }
            if (!resend(now, seq, out)) break;
            --most;
        }
        ++lost_head_;  // sent again, or acknowledged in the meantime
    }
}

// ---- acknowledgements --------------------------------------------------------------------------

bool Sender::on_control(Instant now, std::uint8_t type, const rina::ControlPdu& fields,
                        bool is_marked) noexcept {
    const std::uint64_t ack = space_.unwrap(fields.ack, una_);
    // A flow without retransmission has no use for it, but its peer fills it in.
    if (has_ack(type) && reliable_ && before(next_, ack)) return false;
    bool is_window_moved = false;
    if (has_flow_control(type) && has_window_) {
        const std::uint64_t edge = space_.unwrap(fields.new_rwe, next_);
        const std::uint64_t lwe = space_.unwrap(fields.new_lwe, next_);
        if (before(rwe_, edge)) {
            rwe_ = edge;
            is_window_moved = true;
            probe_at_ = Instant::never();  // it takes as long again before it is asked about
        }
        if (before(told_lwe_, lwe)) {
            told_lwe_ = lwe;
            is_window_moved = true;
        }
    }
    // Of a path on which nothing was sent it says nothing.
    marked_ = marked_ || (is_marked && path_ != nullptr);
    if (has_ack(type) && reliable_) on_ack(now, ack, !is_window_moved);
    return true;
}

void Sender::on_ack(Instant now, std::uint64_t ack, bool is_repeated) noexcept {
    if (before(acked_to_, ack)) {
        acked_to_ = ack;
        repeated_acks_ = 0;
        return;
    }
    if (has_sack_ || ack != acked_to_ || !is_repeated || acked_to_ == next_) return;
    if (++repeated_acks_ < kRepeatedAcks) return;
    repeated_acks_ = 0;
    Slot& slot = slots_[acked_to_];
    // Once in a round trip: what repeats it may still be PDUs from before the retransmission.
    if (una_ == acked_to_ && slot.state == State::in_flight &&
        (!before(acked_to_, recovery_) || now.ns - slot.sent_ns > path_->rtt.timeout().ns)) {
        enter_recovery();
        is_new_event_ = true;
    }
}

void Sender::mark_delivered(Instant now, Slot& slot) noexcept {
    if (slot.state == State::in_flight)
        --in_flight_;
    else
        --lost_;
    slot.state = State::delivered;
    ++new_delivered_;
    const auto ahead = static_cast<std::int32_t>(slot.tx + 1 - tx_high_);
    // Without selective acknowledgement those behind it waited for it: they measure nothing.
    is_sample_stale_ = is_sample_stale_ || (slot.retries != 0 && !has_sack_);
    if (slot.retries == 0) {
        sample_sent_ = std::max(sample_sent_, Instant{slot.sent_ns});
    } else if (path_->rtt.measured() && now.ns - slot.sent_ns < path_->rtt.least().ns) {
        // Too early for the retransmission: the first one was only late, and says nothing about
        // what was sent in between.
        ++stats_.spurious;
        reorder_ = std::min(reorder_ * 2, kReorderMost);
        return;
    }
    if (ahead > 0) tx_high_ = slot.tx + 1;
}

void Sender::on_sack(Instant now, const SackBlock& wire_block) noexcept {
    std::uint64_t first = space_.unwrap(wire_block.first, una_);
    std::uint64_t last = space_.unwrap(wire_block.last, una_);
    first = later(first, una_);
    last = sooner(last, next_ - 1);
    if (before(last, first) || una_ == next_) return;
    if (!path_->sacked.reserve(una_, next_ - una_, next_ - una_)) return;
    path_->sacked.each_word(first, last + 1,
                      [&](std::uint64_t& word, std::uint64_t mask, std::uint64_t base) noexcept {
                          std::uint64_t fresh = ~word & mask;
                          word |= mask;
                          sacked_count_ += static_cast<std::uint32_t>(std::popcount(fresh));
                          for (; fresh != 0; fresh &= fresh - 1) {
                              const auto bit = static_cast<unsigned>(std::countr_zero(fresh));
                              mark_delivered(now, slots_[base + bit]);
                          }
                      });
}

void Sender::release_acked(Instant now, Outbox& out) noexcept {
    const std::uint64_t from = una_;
    const std::uint64_t n = std::min<std::uint64_t>(acked_to_ - una_, out.done.room());
    if (n == 0) {
        more_ = more_ || una_ != acked_to_;
        return;
    }
    for (const std::uint64_t end = una_ + n; una_ != end; ++una_) {
        Slot& slot = slots_[una_];
        if (slot.state != State::delivered)
            mark_delivered(now, slot);
        else
            --sacked_count_;
        out.done.add(slot.token);
    }
    if (path_->sacked.allocated()) path_->sacked.clear_range(from, una_);
    scan_ = later(scan_, una_);
    stats_.acked += n;
    more_ = more_ || una_ != acked_to_;
    give_up_at_ = una_ == next_ ? Instant::never() : now + policies_.retransmission->give_up();
    if (!has_sack_ && una_ == acked_to_) on_partial_ack(now);
}

// ---- losses ------------------------------------------------------------------------------------

bool Sender::push_lost(std::uint64_t seq) noexcept {
    const std::uint32_t used = lost_tail_ - lost_head_;
    if (!path_->lost_queue.reserve(lost_head_, used, used + 1)) return false;
    path_->lost_queue[lost_tail_++] = seq;
    return true;
}

bool Sender::mark_lost(std::uint64_t seq, Slot& slot) noexcept {
    if (!push_lost(seq)) return false;  // the timer will find it again
    slot.state = State::lost;
    --in_flight_;
    ++lost_;
    ++new_lost_;
    return true;
}

bool Sender::is_overdue(const Slot& slot) const noexcept {
    return static_cast<std::int32_t>(tx_high_ - 1 - slot.tx) >=
               static_cast<std::int32_t>(reorder_) ||
           slot.sent_ns <= overdue_ns_;
}

// With selective acknowledgements: in the order in which they were transmitted, for the first time
// and again, up to the first that may still arrive (as RACK, RFC 8985, but by count).
void Sender::find_losses() noexcept {
    for (; scan_ != next_; ++scan_) {
        Slot& slot = slots_[scan_];
        if (slot.state != State::in_flight || slot.retries != 0) continue;
        if (!is_overdue(slot) || !mark_lost(scan_, slot)) break;
    }
    for (; resent_head_ != resent_tail_; ++resent_head_) {
        const std::uint64_t seq = path_->resent_queue[resent_head_];
        if (before(seq, una_)) continue;
        Slot& slot = slots_[seq];
        if (slot.state != State::in_flight) continue;
        if (!is_overdue(slot) || !mark_lost(seq, slot)) break;
    }
}

// Without: the first one that is not acknowledged, and what the peer had no room for behind it.
void Sender::enter_recovery() noexcept {
    recovery_ = next_;
    if (slots_[una_].state == State::in_flight) mark_lost(una_, slots_[una_]);
    if (!is_rlite_) return;
    // In order, whatever was found lost before.
    lost_head_ = lost_tail_;
    const std::uint64_t reach = una_ + kRliteReorderMax;
    for (std::uint64_t seq = una_; seq != next_; ++seq) {
        Slot& slot = slots_[seq];
        if (slot.state == State::lost)
            push_lost(seq);
        else if (before(reach, seq))
            mark_lost(seq, slot);
    }
}

// What comes next was lost as well (RFC 6582), unless it was sent again already.
void Sender::on_partial_ack(Instant now) noexcept {
    if (!before(una_, recovery_) || una_ == next_) return;
    Slot& slot = slots_[una_];
    if (slot.state == State::in_flight &&
        (slot.retries == 0 || now.ns - slot.sent_ns > path_->rtt.timeout().ns))
        mark_lost(una_, slot);
}

Instant Sender::oldest_sent() const noexcept {
    if (!has_sack_) return Instant{slots_[una_].sent_ns};
    std::int64_t oldest = std::numeric_limits<std::int64_t>::max();
    if (scan_ != next_) oldest = slots_[scan_].sent_ns;
    if (resent_head_ != resent_tail_)
        oldest = std::min(oldest, slots_[path_->resent_queue[resent_head_]].sent_ns);
    return Instant{oldest};
}

void Sender::on_rtx_timer(Instant now) noexcept {
    rtx_at_ = Instant::never();
    if (in_flight_ == 0) return;
    if (has_sack_) find_losses();
    if (in_flight_ == 0) return;  // what came later told of all of them: no timeout
    const Instant due = oldest_sent() + path_->rtt.timeout();
    if (now < due) {
        rtx_at_ = due;
        return;
    }
    ++stats_.timeouts;
    const Instant cut = now - path_->rtt.timeout();
    if (!faults::is_active(faults::Fault::no_backoff)) path_->rtt.back_off();
    reorder_ = kReorderLeast;
    std::visit([](auto& policy) { policy.on_timeout(); }, path_->congestion);
    window_ = limits().window;
    if (has_sack_) {
        overdue_ns_ = cut.ns;
        find_losses();
    } else {
        enter_recovery();
    }
    recovery_ = next_;
}

// ---- congestion control ------------------------------------------------------------------------

void Sender::report(Instant now) noexcept {
    if (sample_sent_.ns >= 0 && !is_sample_stale_) path_->rtt.sample(now, now - sample_sent_);
    sample_sent_ = Instant{-1};
    is_sample_stale_ = false;
    if (new_delivered_ > 0) {
        path_->rtt.on_progress();
        if (!rtx_at_.is_never()) rtx_at_ = now + path_->rtt.timeout();
    }
    AckSample sample;
    sample.now = now;
    sample.delivered = new_delivered_;
    sample.lost = new_lost_;
    sample.in_flight = in_flight_;
    sample.limited_by_user = limited_by_user_;
    sample.recovering = before(una_, recovery_) && !is_new_event_;
    is_new_event_ = false;
    sample.marked = marked_;
    sample.rtt = path_->rtt.smoothed();
    sample.rtt_min = path_->rtt.least();
    round_delivered_ += new_delivered_;
    round_lost_ += new_lost_;
    new_delivered_ = new_lost_ = 0;
    if (static_cast<std::int32_t>(tx_high_ - tx_round_) > 0) {
        sample.round_ended = true;
        sample.round_time = now - round_at_;
        sample.round_delivered = round_delivered_;
        sample.round_lost = round_lost_;
        round_delivered_ = round_lost_ = 0;
        round_at_ = now;
        tx_round_ = tx_next_;
        if (reorder_ > kReorderLeast) --reorder_;
    }
    marked_ = false;
    if (!is_congestion_controlled_) return;
    std::visit([&](auto& policy) { policy.on_ack(sample); }, path_->congestion);
    if ((sample.lost > 0 || sample.marked) && !sample.recovering) recovery_ = next_;
    const CongestionLimits to = limits();
    window_ = to.window;
    path_->pacer.set_rate(to.pdus_per_second, kPaceTolerance);
}

// ---- the turn of the crank ---------------------------------------------------------------------

void Sender::run(Instant now, Outbox& out) noexcept {
    more_ = false;
    if (gave_up_) return;
    if (reliable_) {
        if (una_ != acked_to_) release_acked(now, out);
        if (now >= rtx_at_) on_rtx_timer(now);
        if (now >= give_up_at_) {
            gave_up_ = true;
            return;
        }
        if (has_sack_ && in_flight_ > 0) find_losses();
        if (new_delivered_ > 0 || new_lost_ > 0 || marked_) report(now);
        retransmit(now, out);
    }
    if (lost_ == 0) drain_queue(now, out);
    arm(now);
}

void Sender::arm(Instant now) noexcept {
    if (reliable_) {
        if (in_flight_ == 0)
            rtx_at_ = Instant::never();
        else if (rtx_at_.is_never())
            rtx_at_ = now + path_->rtt.timeout();
    }
    const bool is_waiting = queue_head_ != queue_tail_;
    // Whatever else holds them back, an acknowledgement comes or the timer fires.
    pace_at_ = Instant::never();
    if (is_waiting || lost_ > 0) {
        if (path_ != nullptr && path_->pacer.room(now) == 0) pace_at_ = path_->pacer.next();
        if (rate_pacer_.room(now) == 0)
            pace_at_ = pace_at_.is_never() ? rate_pacer_.next()
                                           : std::max(pace_at_, rate_pacer_.next());
    }
    // Nobody is going to tell that the window opened if that message was lost, or if those were
    // lost whose arrival would have opened it.
    // rlite can be asked by an old number, which it acknowledges, but only with retransmission;
    // without, what it does not hear of for 3 delta-t starts anew.
    const bool can_ask = reliable_ ? una_ == next_ : !is_rlite_;
    const bool is_closed = is_waiting && has_window_ && before(rwe_, next_) && can_ask &&
                           !faults::is_active(faults::Fault::no_window_probe);
    if (!is_closed) {
        probe_at_ = Instant::never();
        probe_gap_ = Duration{};
    } else if (probe_at_.is_never()) {
        probe_gap_ = std::max(policies_.a_timer * 2, kProbeLeast);
        if (path_ != nullptr && path_->rtt.measured())
            probe_gap_ = std::max(probe_gap_, path_->rtt.timeout());
        probe_at_ = now + probe_gap_;
    }
}

void Sender::on_probe_sent(Instant now) noexcept {
    probe_gap_ = std::min(probe_gap_ * 2, std::max(policies_.a_timer * 2, kProbeMost));
    probe_at_ = now + probe_gap_;
    active_at_ = now;
}

Instant Sender::next_deadline() const noexcept {
    if (more_) return Instant::zero();
    return earlier(earlier(rtx_at_, give_up_at_), earlier(pace_at_, probe_at_));
}

void Sender::start_run() noexcept {
    drf_pending_ = true;
    if (has_window_) rwe_ = later(rwe_, next_ + policies_.window->initial_credit);
    if (!empty()) return;
    // An idle flow gives its memory back.
    queue_.release();
    slots_.release();
    path_.reset();
    window_ = limits().window;
    lost_head_ = lost_tail_ = resent_head_ = resent_tail_ = 0;
}

bool Sender::flush(Outbox& out, DropReason reason) noexcept {
    if (reliable_) {
        for (; una_ != next_ && !out.drop.full(); ++una_) {
            const Slot& slot = slots_[una_];
            const bool has_arrived = slot.state == State::delivered || before(una_, acked_to_);
            if (has_arrived && out.done.full()) return false;
            if (has_arrived)
                out.done.add(slot.token);
            else
                out.drop.add({slot.token, reason});
        }
    }
    while (queue_head_ != queue_tail_ && !out.drop.full())
        out.drop.add({queue_[queue_head_++].token, reason});
    rtx_at_ = give_up_at_ = pace_at_ = probe_at_ = Instant::never();
    more_ = false;
    in_flight_ = lost_ = sacked_count_ = 0;
    acked_to_ = later(acked_to_, una_);
    return (!reliable_ || una_ == next_) && queue_head_ == queue_tail_;
}

}  // namespace sluice::efcp
