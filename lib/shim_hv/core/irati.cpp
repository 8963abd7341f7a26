// Profile irati: three messages and no greeting (docs/vmpi.md, section 6). What can be mended from
// one side alone is mended: timeouts, quarantine, checks, registered names, a second try.

#include "base/check.hpp"
#include "shim_hv/core/machine.hpp"

namespace sluice::shim_hv {

namespace vmpi = rina::vmpi;
using rina::Reason;

ShimHv::IratiMachine::IratiMachine(const Params& params) : Machine(params) {}

void ShimHv::IratiMachine::link_up(Instant now, Outbox& out) {
    if (state_ != DeviceState::link_down) return;
    state_ = DeviceState::up;
    limits_ = {};
    limits_.max_sdu_rx = params_.max_sdu_rx;
    limits_.max_sdu_tx = params_.max_sdu_tx;
    limits_.min_sdu_tx = std::max(params_.min_frame_tx, vmpi::kHeaderBytes) - vmpi::kHeaderBytes;
    limits_.max_channels = std::min(params_.max_channels, vmpi::kIratiChannelsMax);
    std::fill(slots_.begin(), slots_.end(), ChannelSlot{});
    last_seen_ = now;
    out.add(SetEpochs{0, 0, limits_});
    out.add(DeviceUp{limits_});
}

void ShimHv::IratiMachine::link_down(Instant now, Outbox& out) {
    if (state_ == DeviceState::link_down) return;
    if (!faulty(Fault::no_timeout_no_reset)) reset_flows(Reason::link_down, out);
    state_ = DeviceState::link_down;
    last_down_ = Reason::link_down;
    out.add(DeviceDown{Reason::link_down});
}

std::uint32_t ShimHv::IratiMachine::draw_channel(Instant now) {
    // The two ends draw from opposite sides, so they collide only when nearly all are in use.
    const bool from_top = params_.role == vmpi::Role::backend &&
                          !faulty(Fault::lowest_free_numbering);
    for (std::uint32_t i = 1; i <= limits_.max_channels; ++i) {
        const std::uint32_t channel = from_top ? limits_.max_channels + 1 - i : i;
        const ChannelSlot& slot = slots_[channel];
        const bool rests = slot.used && now - slot.freed_at < params_.timers.quarantine;
        if (slot.flow == 0 && !rests) return channel;
    }
    return 0;
}

void ShimHv::IratiMachine::send(const vmpi::IratiMessage& message, Outbox& out) {
    std::array<std::byte, vmpi::kIratiMessageBytesLimit> bytes;
    const std::size_t size = vmpi::encode_irati(message, bytes);
    SLUICE_CHECK(size > 0);
    if (faulty(Fault::host_byte_order) && host_is_big_endian)
        vmpi::store_le32(bytes.data() + 1, __builtin_bswap32(message.channel));
    ++counters_.sent[static_cast<std::size_t>(message.command) + 1];
    send_frame(std::span<const std::byte>(bytes.data(), size), out);
}

void ShimHv::IratiMachine::send_request(Instant now, Flow& flow, Outbox& out) {
    bind(flow, out);
    const std::string source = flow.source.wire();
    const std::string destination = flow.destination.wire();
    vmpi::IratiMessage message;
    message.channel = flow.channel;
    message.source = source;
    message.destination = destination;
    send(message, out);
}

void ShimHv::IratiMachine::respond(std::uint32_t channel, bool accepted, Outbox& out) {
    vmpi::IratiMessage message;
    message.command = vmpi::IratiCommand::allocate_resp;
    message.channel = channel;
    message.accepted = accepted;
    send(message, out);
}

void ShimHv::IratiMachine::send_refusal(const Flow& flow, Reason reason, Outbox& out) {
    ++counters_.refused_to_peer[static_cast<std::size_t>(reason)];
    respond(flow.channel, false, out);
}

void ShimHv::IratiMachine::close(Instant now, Flow& flow, Reason reason, Outbox& out) {
    vmpi::IratiMessage message;
    message.command = vmpi::IratiCommand::deallocate;
    message.channel = flow.channel;
    send(message, out);
    forget(now, flow);
}

void ShimHv::IratiMachine::send_acceptance(const Flow& flow, Outbox& out) {
    respond(flow.channel, true, out);
}

// ---- messages ----------------------------------------------------------------------------------

void ShimHv::IratiMachine::on_control(Instant now, std::span<const std::byte> bytes,
                                      Outbox& out) {
    if (state_ != DeviceState::up) return drop(VmpiDrop::device_down);
    vmpi::IratiMessage message;
    const vmpi::ParseError error = vmpi::parse_irati(bytes, message);
    ++counters_.parse_errors[static_cast<std::size_t>(error)];
    if (error != vmpi::ParseError::none) return drop(VmpiDrop::bad_control);
    ++counters_.received[static_cast<std::size_t>(message.command) + 1];
    note_frame_seen(now);
    if (faulty(Fault::unchecked_peer_input))
        message.channel %= static_cast<std::uint32_t>(slots_.size());  // some memory or other
    else if (!in_range(message.channel))
        return drop(VmpiDrop::unknown_channel);
    switch (message.command) {
        case vmpi::IratiCommand::allocate_req: return on_request(now, message, out);
        case vmpi::IratiCommand::allocate_resp: return on_response(now, message, out);
        case vmpi::IratiCommand::deallocate: return on_deallocate(now, message, out);
    }
}

void ShimHv::IratiMachine::on_request(Instant now, const vmpi::IratiMessage& message,
                                      Outbox& out) {
    const auto refuse_with = [&](Reason reason) {
        ++counters_.refused_to_peer[static_cast<std::size_t>(reason)];
        respond(message.channel, false, out);
    };
    if (Flow* flow = flow_on(message.channel)) {
        if (flow->initiator && flow->state == FlowState::requested) {
            flow->collided = true;
            ++counters_.collisions;
        }
        return refuse_with(Reason::channel_in_use);
    }
    const auto source = rina::AppName::parse(message.source);
    const auto destination = rina::AppName::parse(message.destination);
    if (!destination || !is_offered_here(*destination))
        return refuse_with(Reason::no_such_application);
    if (!source) return refuse_with(Reason::refused);
    if (pending_offers() >= params_.max_pending && !faulty(Fault::no_policing))
        return refuse_with(Reason::busy);
    Flow& flow = add_flow(now, message.channel, false);
    flow.state = FlowState::offered;
    flow.source = *source;
    flow.destination = *destination;
    flow.deadline = now + params_.timers.accept_timeout;
    out.add(FlowRequested{flow.handle, flow.source, flow.destination});
}

void ShimHv::IratiMachine::on_response(Instant now, const vmpi::IratiMessage& message,
                                       Outbox& out) {
    Flow* flow = flow_on(message.channel);
    if (flow == nullptr || !flow->initiator || flow->state != FlowState::requested)
        return drop(VmpiDrop::stale_control);
    if (message.accepted) {
        flow->state = FlowState::allocated;
        flow->since = now;
        flow->deadline = Instant::never();
        out.add(FlowAllocated{flow->handle, flow->cookie, limits_.max_sdu_tx});
        return;
    }
    unbind(*flow, out);
    const std::uint32_t channel =
        flow->collided && !flow->second_try && !faulty(Fault::lowest_free_numbering)
            ? draw_channel(now)
            : 0;
    if (channel == 0) {
        tell(*flow, flow->collided ? Reason::channel_in_use : Reason::refused, out);
        return forget(now, *flow);
    }
    ChannelSlot& left = slots_[flow->channel];
    left.flow = 0;
    left.used = true;
    left.freed_at = now;
    slots_[channel].flow = flow->handle.value;
    flow->channel = channel;
    flow->collided = false;
    flow->second_try = true;
    send_request(now, *flow, out);
}

void ShimHv::IratiMachine::on_deallocate(Instant now, const vmpi::IratiMessage& message,
                                         Outbox& out) {
    Flow* flow = flow_on(message.channel);
    if (flow == nullptr) return drop(VmpiDrop::stale_control);
    unbind(*flow, out);
    tell(*flow, Reason::closed_by_peer, out);
    forget(now, *flow);
}

// ---- time --------------------------------------------------------------------------------------

void ShimHv::IratiMachine::on_timeout(Instant now, Outbox& out) {
    if (faulty(Fault::no_timeout_no_reset)) return;
    for (const std::uint32_t handle : flows_due(now)) {
        Flow& flow = *find(FlowHandle(handle));
        unbind(flow, out);
        tell(flow, Reason::timed_out, out);
        if (flow.initiator) {
            close(now, flow, Reason::timed_out, out);
        } else {
            send_refusal(flow, Reason::timed_out, out);
            forget(now, flow);
        }
    }
}

Instant ShimHv::IratiMachine::next_deadline() const noexcept {
    return faulty(Fault::no_timeout_no_reset) ? Instant::never() : earliest_flow_deadline();
}

}  // namespace sluice::shim_hv
