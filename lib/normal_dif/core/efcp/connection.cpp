#include "normal_dif/core/efcp/connection.hpp"

#include <algorithm>
#include <utility>

#include "normal_dif/core/efcp/control_pdu.hpp"

namespace sluice::efcp {

namespace {

// Between our own nodes an acknowledgement is for at most so many PDUs, or for a burst.
constexpr std::uint32_t kAckEvery = 8;

std::uint32_t ack_threshold(const EfcpPolicies& policies) noexcept {
    if (policies.a_timer.ns == 0 || !policies.window) return 1;
    const std::uint32_t half = std::max(policies.window->initial_credit / 2, 1u);
    return policies.dialect == Dialect::rlite ? half : std::min(half, kAckEvery);
}

std::uint8_t control_type(const EfcpPolicies& policies) noexcept {
    unsigned type = 0xc0;
    if (policies.window) type |= 0x08;
    if (policies.reliable()) type |= 0x04;
    if (policies.sack) type |= 0x02;
    return static_cast<std::uint8_t>(type);
}

rina::Pci header(const ConnectionIds& ids) noexcept {
    rina::Pci pci;
    pci.destination = ids.remote;
    pci.source = ids.local;
    pci.destination_cep = ids.remote_cep;
    pci.source_cep = ids.local_cep;
    pci.qos = ids.qos;
    return pci;
}

}  // namespace

Connection::Connection(const ConnectionIds& ids, ProfileRef profile) noexcept
    : profile_(std::move(profile)),
      header_(header(ids)),
      space_(format().sequence),
      ack_threshold_(ack_threshold(policies())),
      control_type_(control_type(policies())),
      has_acks_(policies().window.has_value() || policies().reliable()),
      is_rlite_(policies().dialect == Dialect::rlite),
      sender_(policies(), format(), header_),
      receiver_(policies(), format()) {}

// ---- receiving ---------------------------------------------------------------------------------

std::size_t Connection::on_burst(Instant now, std::span<const RxItem> items,
                                 Outbox& out) noexcept {
    std::size_t taken = 0;
    bool any_data = false;
    bool any_control = false;
    for (; taken < items.size(); ++taken) {
        if (out.deliver.full() || out.drop.full() || out.done.full()) [[unlikely]]
            break;
        const RxItem& item = items[taken];
        if (!is_mine(item.pci)) [[unlikely]] {
            out.drop.add({item.token, DropReason::efcp_wrong_peer});
        } else if (state_ == State::closed || state_ == State::failed) [[unlikely]] {
            out.drop.add({item.token, DropReason::no_flow});
        } else if (item.pci.type == static_cast<std::uint8_t>(rina::PduType::data)) [[likely]] {
            receiver_.on_data(now, item, out);
            congestion_seen_ |= (item.pci.flags & rina::pci_flag::kEcn) != 0;
            any_data = true;
            // rlite counts PDU by PDU. Otherwise a burst is acknowledged at its end, unless there
            // is more to tell than a PDU has room for.
            if (is_rlite_ ? has_acks_ && receiver_.is_ack_due(ack_threshold_)
                          : receiver_.is_log_full()) [[unlikely]] {
                after_data(now, out);
                send_control(out, control_type_);
            }
        } else if (on_control(now, item)) {
            out.done.add(item.token);
            any_control = true;
        } else {
            out.drop.add({item.token, DropReason::efcp_bad_control});
        }
    }
    if (any_data) after_data(now, out);
    if (has_acks_) acknowledge(now, out);
    if (any_control) {
        sender_.run(now, out);
        check_end(now, out);
    }
    return taken;
}

void Connection::after_data(Instant now, Outbox& out) noexcept {
    received_at_ = now;
    // The sender of a new run counts our control PDUs from 0.
    if (receiver_.was_run_started()) control_next_ = 0;
    if (receiver_.needs_run()) receiver_.run(now, out);
}

bool Connection::on_control(Instant now, const RxItem& item) noexcept {
    const std::uint8_t type = item.pci.type;
    const bool is_rendezvous = type == static_cast<std::uint8_t>(rina::PduType::rendezvous);
    const bool is_known = type == static_cast<std::uint8_t>(rina::PduType::ack) ||
                          type == static_cast<std::uint8_t>(rina::PduType::flow_control) ||
                          type == static_cast<std::uint8_t>(rina::PduType::ack_flow_control) ||
                          (has_sack(type) && policies().sack) || (is_rendezvous && !is_rlite_);
    const bool is_short = item.bytes.size() < format().control_bytes();
    if (is_short && faults::crashes(faults::Fault::short_control_read)) return false;
    if (!has_acks_ || !is_known || is_short) return false;
    const rina::ControlPdu fields = rina::parse_control(item.bytes, format());
    const bool is_marked = policies().ecn && (item.pci.flags & rina::pci_flag::kEcn) != 0;
    if (has_sack(type)) {
        const auto blocks = parse_sack(item.bytes, format());
        if (!blocks || !sender_.on_control(now, type, fields, is_marked)) return false;
        for (const SackBlock& block : *blocks) sender_.on_sack(now, block);
    } else if (!sender_.on_control(now, type, fields, is_marked)) {
        return false;
    }
    const std::uint64_t seq = space_.unwrap(item.pci.sequence, control_received_);
    if (!any_control_received_ || before(control_received_, seq)) control_received_ = seq;
    any_control_received_ = true;
    if (is_rendezvous) receiver_.on_sender_lwe(fields.my_lwe);
    return true;
}

// Now, or when the A-timer fires.
void Connection::acknowledge(Instant now, Outbox& out) noexcept {
    if (!receiver_.is_ack_owed()) return;
    if (receiver_.is_ack_urgent() || policies().a_timer.ns == 0 || now >= ack_at_ ||
        receiver_.is_ack_due(ack_threshold_)) {
        send_control(out, control_type_);
    } else if (ack_at_.is_never()) {
        ack_at_ = now + policies().a_timer;
    }
}

void Connection::send_control(Outbox& out, std::uint8_t type) noexcept {
    is_control_blocked_ = out.control.full();
    if (is_control_blocked_) return;
    ControlItem& item = out.control.add();
    item.pci = header_;
    item.pci.type = type;
    item.pci.sequence = space_.wrap(control_next_++);
    if (congestion_seen_ && policies().ecn) item.pci.flags |= rina::pci_flag::kEcn;
    congestion_seen_ = false;
    item.fields.last_control_received = space_.wrap(control_received_);
    item.fields.my_lwe = space_.wrap(sender_.told_lwe());
    item.fields.my_rwe = space_.wrap(sender_.window_edge());
    receiver_.on_ack_sent(item);
    if (!has_sack(type)) item.sack.clear();
    item.pci.length = static_cast<std::uint32_t>(format().control_bytes() +
                                                 item.sack.size() * 2 * format().sequence);
    ack_at_ = Instant::never();
}

void Connection::consumed(Instant now, std::uint32_t pdus, Outbox& out) noexcept {
    receiver_.on_consumed(pdus);
    if (has_acks_ && state_ != State::closed && state_ != State::failed) acknowledge(now, out);
}

// ---- timers ------------------------------------------------------------------------------------

void Connection::on_timeout(Instant now, Outbox& out) noexcept {
    if (state_ == State::closed || state_ == State::failed) {
        is_flushed_ = flush(out);
        return;
    }
    check_inactivity(now);
    receiver_.run(now, out);
    if (has_acks_ && (now >= ack_at_ || is_control_blocked_ || receiver_.is_ack_urgent()))
        acknowledge(now, out);
    sender_.run(now, out);
    if (sender_.is_probe_due(now)) probe(now, out);
    check_end(now, out);
}

// The window was closed for long, and the control PDU that opened it may be lost.
void Connection::probe(Instant now, Outbox& out) noexcept {
    if (out.control.full()) {
        is_control_blocked_ = true;
        return;
    }
    sender_.on_probe_sent(now);
    if (!is_rlite_) {
        send_control(out, static_cast<std::uint8_t>(rina::PduType::rendezvous));
        // What a sender without retransmission has sent does not come again.
        out.control[out.control.size() - 1].fields.my_lwe = space_.wrap(
            policies().reliable() ? sender_.unacked() : sender_.next_sequence());
        return;
    }
    // rlite has no rendezvous, but answers a number it has had at once (kernel/normal.c there).
    ControlItem& item = out.control.add();
    item.pci = header_;
    item.pci.sequence = space_.wrap(sender_.unacked() - 1);
    item.pci.length = static_cast<std::uint32_t>(format().bytes());
    item.sack.clear();
}

Instant Connection::sender_inactive_at() const noexcept {
    if (!policies().dtcp_present || sender_.is_run_pending() || sender_.active_at().is_never())
        return Instant::never();
    // With something to send, probes and retransmissions see to it; where there are neither, a new
    // run is how to get on.
    const bool can_restart = is_rlite_ && !policies().reliable() && policies().window;
    if (!sender_.empty() && !can_restart) return Instant::never();
    return sender_.active_at() + policies().delta_t() * 3;
}

Instant Connection::receiver_inactive_at() const noexcept {
    if (!policies().dtcp_present || receiver_.is_run_expected() || received_at_.is_never())
        return Instant::never();
    return received_at_ + policies().delta_t() * 2;
}

void Connection::check_inactivity(Instant now) noexcept {
    if (now >= receiver_inactive_at()) receiver_.expect_run();
    if (now >= sender_inactive_at()) {
        sender_.start_run();
        any_control_received_ = false;
        control_received_ = 0;
    }
}

Instant Connection::next_deadline() const noexcept {
    if (state_ == State::closed || state_ == State::failed)
        return is_flushed_ ? Instant::never() : Instant::zero();
    if (is_control_blocked_ || receiver_.needs_run()) return Instant::zero();
    Instant at = earlier(sender_.next_deadline(), receiver_.next_deadline());
    at = earlier(at, earlier(ack_at_, close_at_));
    return earlier(at, earlier(sender_inactive_at(), receiver_inactive_at()));
}

// ---- the end -----------------------------------------------------------------------------------

void Connection::close(Instant now, Duration linger, Outbox& out) noexcept {
    if (state_ != State::open) return;
    // Afterwards nobody says it, and the peer would send again what has arrived.
    if (has_acks_ && receiver_.is_ack_owed()) send_control(out, control_type_);
    state_ = State::closing;
    close_at_ = now + linger;
    check_end(now, out);
}

bool Connection::abort(Outbox& out) noexcept {
    if (state_ == State::open || state_ == State::closing)
        end(State::closed, Failure::none, out);
    else
        is_flushed_ = flush(out);
    return is_flushed_;
}

void Connection::check_end(Instant now, Outbox& out) noexcept {
    if (state_ == State::closed || state_ == State::failed) return;
    if (sender_.has_given_up()) {
        end(State::failed,
            sender_.has_exhausted_retries() ? Failure::retries_exhausted : Failure::time_exceeded,
            out);
    } else if (state_ == State::closing && (sender_.empty() || now >= close_at_)) {
        end(State::closed, Failure::none, out);
    }
}

void Connection::end(State state, Failure failure, Outbox& out) noexcept {
    state_ = state;
    failure_ = failure;
    undelivered_ = sender_.undelivered();
    out.events |= failure == Failure::none ? event::kDrained : event::kFailed;
    is_flushed_ = flush(out);
}

bool Connection::flush(Outbox& out) noexcept {
    const bool is_sender_empty = sender_.flush(out, DropReason::efcp_not_acked);
    return receiver_.flush(out, DropReason::efcp_not_acked) && is_sender_empty;
}

}  // namespace sluice::efcp
