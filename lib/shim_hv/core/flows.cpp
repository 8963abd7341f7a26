// Profile sluice: allocation and deallocation of flows (docs/vmpi.md, section 4).
//
// A use of a channel is named by channel, generation and transaction id together; a message that
// does not carry all three of the present use is about another one and changes nothing.

#include "base/check.hpp"
#include "shim_hv/core/machine.hpp"

namespace sluice::shim_hv {

namespace vmpi = rina::vmpi;
using rina::Reason;

namespace {

// Serial arithmetic on 7 bits: is `a` a later generation than `b`?
bool is_later_generation(std::uint8_t a, std::uint8_t b) noexcept {
    const auto ahead = static_cast<std::uint8_t>((a - b) & vmpi::kGenerationMask);
    return ahead >= 1 && ahead < 64;
}

constexpr Fault kIgnoresIdentity = Fault::no_transaction_id_no_generation;

}  // namespace

std::uint32_t ShimHv::SluiceMachine::draw_channel(Instant now) {
    if (free_.empty()) return 0;
    auto chosen = free_.begin();
    if (faulty(Fault::lowest_free_numbering) || faulty(kIgnoresIdentity)) {
        chosen = std::min_element(free_.begin(), free_.end());
    } else {
        const ChannelSlot& slot = slots_[*chosen];
        if (slot.used && now - slot.freed_at < params_.timers.quarantine) return 0;
    }
    const std::uint32_t channel = *chosen;
    if (faulty(Fault::lowest_free_numbering) && slots_[channel].flow != 0) return 0;
    free_.erase(chosen);
    return channel;
}

void ShimHv::SluiceMachine::on_freed(std::uint32_t channel) {
    if (!in_range(channel) || is_peer_parity(channel)) return;
    if (faulty(Fault::lowest_free_numbering) &&
        std::find(free_.begin(), free_.end(), channel) != free_.end())
        return;
    free_.push_back(channel);
}

void ShimHv::SluiceMachine::send_about(const Flow& flow, vmpi::Type type, Reason code, bool again,
                                       Outbox& out) {
    vmpi::Message message;
    message.type = type;
    message.channel = flow.channel;
    message.generation = flow.generation;
    message.transaction = flow.transaction;
    message.code = static_cast<std::uint8_t>(code);
    const std::string source = flow.source.wire();
    const std::string destination = flow.destination.wire();
    if (type == vmpi::Type::allocate_req) {
        message.source = source;
        message.destination = destination;
    }
    send(message, again, out);
}

void ShimHv::SluiceMachine::send_request(Instant now, Flow& flow, Outbox& out) {
    ChannelSlot& slot = slots_[flow.channel];
    // The first generation of a channel is drawn at random, so that what is left of an earlier
    // life in a ring does not meet a channel of the same generation.
    slot.generation = static_cast<std::uint8_t>(
        (slot.used ? slot.generation + 1u : rng_.next()) & vmpi::kGenerationMask);
    slot.used = true;
    flow.generation = faulty(kIgnoresIdentity) ? std::uint8_t{0} : slot.generation;
    if (next_transaction_ == 0) ++next_transaction_;
    flow.transaction = next_transaction_++;
    flow.retry_gap = params_.timers.retransmit_first;
    flow.retry_at = now + flow.retry_gap;
    // Bound before the request leaves: the peer's first CREDIT may come on the heels of its answer.
    bind(flow, out);
    send_about(flow, vmpi::Type::allocate_req, Reason::ok, false, out);
}

void ShimHv::SluiceMachine::send_refusal(const Flow& flow, Reason reason, Outbox& out) {
    slots_[flow.channel].answer = reason;
    ++counters_.refused_to_peer[static_cast<std::size_t>(reason)];
    send_about(flow, vmpi::Type::allocate_resp, reason, false, out);
}

void ShimHv::SluiceMachine::close(Instant now, Flow& flow, Reason reason, Outbox& out) {
    flow.state = FlowState::closing;
    flow.close_reason = reason;
    flow.deadline = Instant::never();
    flow.retry_gap = params_.timers.retransmit_first;
    flow.retry_at = now + flow.retry_gap;
    send_about(flow, vmpi::Type::deallocate, reason, false, out);
    if (faulty(kIgnoresIdentity)) forget(now, flow);
}

void ShimHv::SluiceMachine::send_acceptance(const Flow& flow, Outbox& out) {
    send_about(flow, vmpi::Type::allocate_resp, Reason::ok, false, out);
    out.add(Grant{flow.channel, flow.generation});
}

// ---- messages ----------------------------------------------------------------------------------

Flow* ShimHv::SluiceMachine::match(const vmpi::Message& message) noexcept {
    std::uint32_t channel = message.channel;
    if (faulty(Fault::unchecked_peer_input))
        channel %= static_cast<std::uint32_t>(slots_.size());  // some memory or other
    else if (!in_range(channel))
        return nullptr;
    Flow* flow = flow_on(channel);
    if (flow == nullptr || faulty(kIgnoresIdentity) || faulty(Fault::unchecked_peer_input))
        return flow;
    const bool same = flow->generation == message.generation &&
                      flow->transaction == message.transaction;
    return same ? flow : nullptr;
}

void ShimHv::SluiceMachine::on_flow_message(Instant now, const vmpi::Message& message,
                                            Outbox& out) {
    switch (message.type) {
        case vmpi::Type::allocate_req: return on_request(now, message, out);
        case vmpi::Type::allocate_resp: return on_response(now, message, out);
        case vmpi::Type::deallocate: return on_deallocate(now, message, out);
        case vmpi::Type::allocate_pending: {
            Flow* flow = match(message);
            if (flow == nullptr || flow->state != FlowState::requested)
                return drop(VmpiDrop::stale_control);
            flow->retry_gap = params_.timers.retransmit_max;
            flow->retry_at = now + flow->retry_gap;
            return;
        }
        case vmpi::Type::deallocate_ack: {
            Flow* flow = match(message);
            if (flow == nullptr || flow->state != FlowState::closing)
                return drop(VmpiDrop::stale_control);
            return forget(now, *flow);
        }
        default: return drop(VmpiDrop::bad_control);
    }
}

void ShimHv::SluiceMachine::respond(const vmpi::Message& request, Reason answer, Outbox& out) {
    if (answer != Reason::ok) ++counters_.refused_to_peer[static_cast<std::size_t>(answer)];
    vmpi::Message message;
    message.type = vmpi::Type::allocate_resp;
    message.channel = request.channel;
    message.generation = request.generation;
    message.transaction = request.transaction;
    message.code = static_cast<std::uint8_t>(answer);
    send(message, false, out);
}

void ShimHv::SluiceMachine::on_request(Instant now, const vmpi::Message& message, Outbox& out) {
    if (faulty(Fault::unchecked_peer_input)) {
        // Channel 0 and channels of ours pass; what lies behind the table is some memory or other.
        vmpi::Message wrapped = message;
        wrapped.channel %= static_cast<std::uint32_t>(slots_.size());
        if (Flow* old = flow_on(wrapped.channel)) {
            unbind(*old, out);
            forget(now, *old);
        }
        return on_new_request(now, wrapped, out);
    }
    if (!in_range(message.channel) ||
        (!is_peer_parity(message.channel) && !faulty(Fault::lowest_free_numbering)))
        return respond(message, Reason::bad_channel, out);

    ChannelSlot& slot = slots_[message.channel];
    Flow* flow = flow_on(message.channel);
    const bool repeated = slot.used && slot.generation == message.generation &&
                          slot.transaction == message.transaction;
    if (repeated && flow != nullptr && !faulty(kIgnoresIdentity)) {
        if (flow->state == FlowState::offered)
            send_about(*flow, vmpi::Type::allocate_pending, Reason::ok, true, out);
        else if (flow->state == FlowState::allocated)
            send_about(*flow, vmpi::Type::allocate_resp, Reason::ok, true, out);
        return;  // closing: our DEALLOCATE tells the peer more than an answer would
    }
    if (repeated && !faulty(kIgnoresIdentity)) {
        // Answered already: the same answer again. A flow that was and is over has no answer.
        if (slot.answer == Reason::ok) return drop(VmpiDrop::stale_control);
        return respond(message, slot.answer, out);
    }
    if (slot.used && !faulty(Fault::lowest_free_numbering) && !faulty(kIgnoresIdentity) &&
        !is_later_generation(message.generation, slot.generation))
        return drop(VmpiDrop::stale_control);
    if (flow != nullptr) {
        // The owner of the channel begins anew, so it has forgotten the flow that we are closing:
        // only its acknowledgement was lost.
        if (flow->state != FlowState::closing)
            return respond(message, Reason::channel_in_use, out);
        forget(now, *flow);
    }
    on_new_request(now, message, out);
}

void ShimHv::SluiceMachine::on_new_request(Instant now, const vmpi::Message& message,
                                           Outbox& out) {
    ChannelSlot& slot = slots_[message.channel];
    slot.used = true;
    slot.generation = message.generation;
    slot.transaction = message.transaction;
    slot.answer = Reason::ok;
    const auto refuse_with = [&](Reason reason) {
        slot.answer = reason;
        respond(message, reason, out);
    };
    const auto source = rina::AppName::parse(message.source);
    const auto destination = rina::AppName::parse(message.destination);
    if (!destination || !is_offered_here(*destination))
        return refuse_with(Reason::no_such_application);
    if (!source) return refuse_with(Reason::refused);
    if (pending_offers() >= params_.max_pending && !faulty(Fault::no_policing))
        return refuse_with(Reason::busy);

    Flow& flow = add_flow(now, message.channel, false);
    flow.state = FlowState::offered;
    flow.generation = message.generation;
    flow.transaction = message.transaction;
    flow.source = *source;
    flow.destination = *destination;
    flow.deadline = now + params_.timers.accept_timeout;
    send_about(flow, vmpi::Type::allocate_pending, Reason::ok, false, out);
    out.add(FlowRequested{flow.handle, flow.source, flow.destination});
}

void ShimHv::SluiceMachine::on_response(Instant now, const vmpi::Message& message, Outbox& out) {
    Flow* flow = match(message);
    if (flow == nullptr || !flow->initiator) return drop(VmpiDrop::stale_control);
    if (flow->state != FlowState::requested) return;  // the answer to a repeated request
    const Reason answer = rina::reason_from_wire(message.code, Reason::refused);
    if (answer != Reason::ok) {
        unbind(*flow, out);
        tell(*flow, answer, out);
        return forget(now, *flow);
    }
    flow->state = FlowState::allocated;
    flow->since = now;
    flow->deadline = Instant::never();
    flow->retry_at = Instant::never();
    out.add(Grant{flow->channel, flow->generation});
    out.add(FlowAllocated{flow->handle, flow->cookie, limits_.max_sdu_tx});
}

void ShimHv::SluiceMachine::on_deallocate(Instant now, const vmpi::Message& message,
                                          Outbox& out) {
    if (Flow* flow = match(message)) {
        const Reason reason = rina::reason_from_wire(message.code, Reason::closed_by_peer);
        unbind(*flow, out);
        tell(*flow, reason == Reason::ok ? Reason::closed_by_peer : reason, out);
        forget(now, *flow);
    } else if (in_range(message.channel) && is_peer_parity(message.channel) &&
               flow_on(message.channel) == nullptr) {
        // Its request may still be under way, behind it: remember that this use is over.
        ChannelSlot& slot = slots_[message.channel];
        if (!slot.used || is_later_generation(message.generation, slot.generation)) {
            slot.used = true;
            slot.generation = message.generation;
            slot.transaction = message.transaction;
            slot.answer = Reason::ok;
        }
    }
    vmpi::Message ack;
    ack.type = vmpi::Type::deallocate_ack;
    ack.channel = message.channel;
    ack.generation = message.generation;
    ack.transaction = message.transaction;
    send(ack, false, out);
}

// ---- time --------------------------------------------------------------------------------------

void ShimHv::SluiceMachine::flow_timeout(Instant now, Flow& flow, Outbox& out) {
    if (now >= flow.deadline) {
        unbind(flow, out);
        tell(flow, Reason::timed_out, out);
        if (flow.state == FlowState::requested) return close(now, flow, Reason::timed_out, out);
        SLUICE_CHECK(flow.state == FlowState::offered);
        send_refusal(flow, Reason::timed_out, out);
        return forget(now, flow);
    }
    const bool is_closing = flow.state == FlowState::closing;
    send_about(flow, is_closing ? vmpi::Type::deallocate : vmpi::Type::allocate_req,
               flow.close_reason, true, out);
    flow.retry_gap = std::min(flow.retry_gap * 2, params_.timers.retransmit_max);
    flow.retry_at = now + flow.retry_gap;
}

void ShimHv::SluiceMachine::on_timeout(Instant now, Outbox& out) {
    session_timeout(now, out);
    if (faulty(Fault::no_timeout_no_reset)) return;
    for (const std::uint32_t handle : flows_due(now))
        if (Flow* flow = find(FlowHandle(handle))) flow_timeout(now, *flow, out);
}

Instant ShimHv::SluiceMachine::next_deadline() const noexcept {
    if (faulty(Fault::no_timeout_no_reset)) return session_deadline();
    return earlier(session_deadline(), earliest_flow_deadline());
}

}  // namespace sluice::shim_hv
