#include "shim_hv/core/shim_hv.hpp"

#include "base/check.hpp"
#include "shim_hv/core/machine.hpp"

namespace sluice::shim_hv {

namespace vmpi = rina::vmpi;

Result<> check(const Params& p) {
    const bool irati = p.profile == vmpi::Profile::irati;
    const std::uint32_t channels_max = irati ? vmpi::kIratiChannelsMax : vmpi::kChannelsMax;
    if (p.max_channels < 1 || p.max_channels > channels_max)
        return fail(EINVAL, "max_channels is {}, expected 1..{} in this profile", p.max_channels,
                    channels_max);
    if (!vmpi::is_credit_unit(p.credit_unit))
        return fail(EINVAL, "credit_unit is {}, expected a power of two in {}..{}", p.credit_unit,
                    vmpi::kCreditUnitMin, vmpi::kCreditUnitMax);
    if (p.max_sdu_rx == 0 || p.max_sdu_tx == 0 || p.max_sdu_rx > (1u << 24) ||
        p.max_sdu_tx > (1u << 24))
        return fail(EINVAL, "max_sdu is {} received and {} sent, expected 1..{}", p.max_sdu_rx,
                    p.max_sdu_tx, 1u << 24);
    if (p.min_frame_tx > 64)
        return fail(EINVAL, "min_frame_tx is {}, expected at most 64", p.min_frame_tx);
    if (p.window == 0 || p.window > (1u << 30))
        return fail(EINVAL, "window is {} credit units, expected 1..{}", p.window, 1u << 30);
    if (p.max_pending == 0 || p.max_apps == 0)
        return fail(EINVAL, "max_pending is {} and max_apps is {}, expected at least 1",
                    p.max_pending, p.max_apps);
    const Timers& t = p.timers;
    for (const Duration d : {t.hello_first, t.hello_max, t.keepalive, t.dead_after,
                             t.retransmit_first, t.retransmit_max, t.allocate_timeout,
                             t.accept_timeout, t.quarantine})
        if (d <= Duration{0})
            return fail(EINVAL, "a timer is {}, expected more than 0", to_string(d));
    return {};
}

// ---- what both profiles share ----------------------------------------------------------------

ShimHv::Machine::Machine(const Params& params)
    : params_(params), rng_(params.seed), slots_(params.max_channels + 1) {
    SLUICE_CHECK(check(params).has_value());
}

Flow* ShimHv::Machine::find(FlowHandle handle) noexcept {
    const auto it = flows_.find(handle.value);
    return it == flows_.end() ? nullptr : &it->second;
}

Flow* ShimHv::Machine::flow_on(std::uint32_t channel) noexcept {
    if (channel >= slots_.size() || slots_[channel].flow == 0) return nullptr;
    return find(FlowHandle(slots_[channel].flow));
}

Flow& ShimHv::Machine::add_flow(Instant now, std::uint32_t channel, bool initiator) {
    while (next_handle_ == 0 || flows_.contains(next_handle_)) ++next_handle_;
    const std::uint32_t handle = next_handle_++;
    Flow& flow = flows_[handle];
    flow.handle = FlowHandle(handle);
    flow.channel = channel;
    flow.initiator = initiator;
    flow.since = now;
    slots_[channel].flow = handle;
    return flow;
}

void ShimHv::Machine::forget(Instant now, Flow& flow) {
    const std::uint32_t channel = flow.channel;
    slots_[channel].flow = 0;
    slots_[channel].freed_at = now;
    slots_[channel].used = true;
    flows_.erase(flow.handle.value);
    on_freed(channel);
}

void ShimHv::Machine::bind(Flow& flow, Outbox& out) {
    // Two of the longest SDUs must fit, or half a window consumed may not be room for one.
    std::uint64_t window = params_.window;
    if (limits_.credit_unit != 0)
        window = std::max(window, 2 * ((std::uint64_t{limits_.max_sdu_rx} + vmpi::kHeaderBytes) /
                                           limits_.credit_unit +
                                       1));
    flow.bound = true;
    out.add(Bind{flow.channel, flow.generation, flow.handle, flow.cookie, window});
}

void ShimHv::Machine::unbind(Flow& flow, Outbox& out) {
    if (!flow.bound) return;
    flow.bound = false;
    out.add(Unbind{flow.channel, flow.generation, flow.handle});
}

void ShimHv::Machine::tell(const Flow& flow, rina::Reason reason, Outbox& out) const {
    if (flow.state == FlowState::allocated)
        out.add(FlowDeallocated{flow.handle, flow.cookie, reason});
    else if (flow.state != FlowState::closing)
        out.add(FlowFailed{flow.handle, flow.cookie, reason});
}

void ShimHv::Machine::reset_flows(rina::Reason reason, Outbox& out) {
    for (auto& [handle, flow] : flows_) {
        unbind(flow, out);
        tell(flow, reason, out);
    }
    flows_.clear();
    for (ChannelSlot& slot : slots_) slot.flow = 0;
    ++counters_.resets;
}

std::size_t ShimHv::Machine::pending_offers() const noexcept {
    return static_cast<std::size_t>(
        std::count_if(flows_.begin(), flows_.end(), [](const auto& entry) {
            return entry.second.state == FlowState::offered;
        }));
}

bool ShimHv::Machine::is_offered_here(const rina::AppName& name) const {
    return apps_.contains(name) || faulty(Fault::unregistered_names);
}

void ShimHv::Machine::send_frame(std::span<const std::byte> message, Outbox& out) const {
    // The channel word of control is zero, and so is padding.
    SendControl action;
    action.frame.resize(std::max<std::size_t>(vmpi::kHeaderBytes + message.size(),
                                              params_.min_frame_tx));
    std::copy(message.begin(), message.end(), action.frame.begin() + vmpi::kHeaderBytes);
    out.add(std::move(action));
}

Instant ShimHv::Machine::earliest_flow_deadline() const noexcept {
    Instant at = Instant::never();
    for (const auto& [handle, flow] : flows_) at = earlier(at, flow.next());
    return at;
}

std::vector<std::uint32_t> ShimHv::Machine::flows_due(Instant now) const {
    std::vector<std::uint32_t> due;
    for (const auto& [handle, flow] : flows_)
        if (flow.next() <= now) due.push_back(handle);
    return due;
}

// ---- the users' side -----------------------------------------------------------------------

Result<> ShimHv::Machine::register_app(const rina::AppName& name) {
    if (apps_.contains(name))
        return fail(EEXIST, "application \"{}\" is registered on this device already",
                    name.to_string());
    if (apps_.size() >= params_.max_apps)
        return fail(ENOSPC, "{} applications are registered on this device, which is its limit",
                    apps_.size());
    apps_.insert(name);
    return {};
}

Result<> ShimHv::Machine::unregister_app(Instant now, const rina::AppName& name, Outbox& out) {
    if (apps_.erase(name) == 0)
        return fail(ENOENT, "application \"{}\" is not registered on this device",
                    name.to_string());
    std::vector<std::uint32_t> theirs;
    for (const auto& [handle, flow] : flows_)
        if (flow.state != FlowState::closing &&
            (flow.initiator ? flow.source : flow.destination) == name)
            theirs.push_back(handle);
    for (const std::uint32_t handle : theirs) {
        Flow& flow = flows_.at(handle);
        tell(flow, rina::Reason::unregistered, out);
        unbind(flow, out);
        if (flow.state == FlowState::offered) {
            send_refusal(flow, rina::Reason::no_such_application, out);
            forget(now, flow);
        } else {
            close(now, flow, rina::Reason::unregistered, out);
        }
    }
    return {};
}

Result<FlowHandle> ShimHv::Machine::allocate(Instant now, const rina::AppName& source,
                                             const rina::AppName& destination,
                                             std::uint32_t cookie, Outbox& out) {
    if (state_ == DeviceState::incompatible)
        return fail(EPROTONOSUPPORT, "the peer of this device speaks no version that we speak");
    if (state_ != DeviceState::up)
        return fail(ENETDOWN, "the device is not up (it is {}), no flow can be allocated",
                    to_string(state_));
    // Names come from parse() as a rule; made by hand they might not fit the wire.
    for (const rina::AppName* name : {&source, &destination})
        SLUICE_TRY_VOID(rina::AppName::parse(name->wire()));
    const std::uint32_t channel = draw_channel(now);
    if (channel == 0)
        return fail(EBUSY, "no channel is free: the device has {}, {} flows use or used them last",
                    limits_.max_channels, flows_.size());
    Flow& flow = add_flow(now, channel, true);
    flow.source = source;
    flow.destination = destination;
    flow.cookie = cookie;
    flow.deadline = now + params_.timers.allocate_timeout;
    const FlowHandle handle = flow.handle;
    send_request(now, flow, out);
    return handle;
}

Result<> ShimHv::Machine::accept(Instant now, FlowHandle handle, std::uint32_t cookie,
                                 Outbox& out) {
    Flow* flow = find(handle);
    if (flow == nullptr || flow->state != FlowState::offered)
        return fail(ESRCH, "flow {} waits for no answer", handle.value);
    flow->state = FlowState::allocated;
    flow->cookie = cookie;
    flow->since = now;
    flow->deadline = Instant::never();
    bind(*flow, out);
    send_acceptance(*flow, out);
    out.add(FlowAllocated{flow->handle, flow->cookie, limits_.max_sdu_tx});
    return {};
}

Result<> ShimHv::Machine::refuse(Instant now, FlowHandle handle, rina::Reason reason,
                                 Outbox& out) {
    Flow* flow = find(handle);
    if (flow == nullptr || flow->state != FlowState::offered)
        return fail(ESRCH, "flow {} waits for no answer", handle.value);
    send_refusal(*flow, reason == rina::Reason::ok ? rina::Reason::refused : reason, out);
    forget(now, *flow);
    return {};
}

Result<> ShimHv::Machine::deallocate(Instant now, FlowHandle handle, Outbox& out) {
    Flow* flow = find(handle);
    if (flow == nullptr || flow->state == FlowState::closing)
        return fail(ESRCH, "flow {} does not exist", handle.value);
    if (flow->state == FlowState::offered)
        return refuse(now, handle, rina::Reason::refused, out);
    unbind(*flow, out);
    close(now, *flow, rina::Reason::closed_by_peer, out);
    return {};
}

DeviceInfo ShimHv::Machine::info() const {
    DeviceInfo info;
    info.state = state_;
    info.profile = params_.profile;
    info.role = params_.role;
    info.limits = limits_;
    info.last_down = last_down_;
    info.apps.assign(apps_.begin(), apps_.end());
    for (const auto& [handle, flow] : flows_)
        info.flows.push_back({flow.handle, flow.state, flow.channel, flow.generation,
                              flow.transaction, flow.initiator, flow.cookie, flow.source,
                              flow.destination, flow.since});
    info.counters = counters_;
    return info;
}

std::string_view to_string(DeviceState state) noexcept {
    switch (state) {
        case DeviceState::link_down: return "link down";
        case DeviceState::greeting: return "greeting";
        case DeviceState::up: return "up";
        case DeviceState::incompatible: return "incompatible";
    }
    return "unknown";
}

std::string_view to_string(FlowState state) noexcept {
    switch (state) {
        case FlowState::requested: return "requested";
        case FlowState::offered: return "offered";
        case FlowState::allocated: return "allocated";
        case FlowState::closing: return "closing";
    }
    return "unknown";
}

// ---- the facade ------------------------------------------------------------------------------

ShimHv::ShimHv(const Params& params) {
    if (params.profile == vmpi::Profile::irati)
        machine_ = std::make_unique<IratiMachine>(params);
    else
        machine_ = std::make_unique<SluiceMachine>(params);
}
ShimHv::~ShimHv() = default;
ShimHv::ShimHv(ShimHv&&) noexcept = default;
ShimHv& ShimHv::operator=(ShimHv&&) noexcept = default;

void ShimHv::link_up(Instant now, Outbox& out) { machine_->link_up(now, out); }
void ShimHv::link_down(Instant now, Outbox& out) { machine_->link_down(now, out); }
void ShimHv::on_control(Instant now, std::span<const std::byte> message, Outbox& out) {
    machine_->on_control(now, message, out);
}
void ShimHv::note_frame_seen(Instant now) noexcept { machine_->note_frame_seen(now); }
void ShimHv::on_timeout(Instant now, Outbox& out) { machine_->on_timeout(now, out); }
Instant ShimHv::next_deadline() const noexcept { return machine_->next_deadline(); }

Result<> ShimHv::register_app(const rina::AppName& name) { return machine_->register_app(name); }
Result<> ShimHv::unregister_app(Instant now, const rina::AppName& name, Outbox& out) {
    return machine_->unregister_app(now, name, out);
}
Result<FlowHandle> ShimHv::allocate(Instant now, const rina::AppName& source,
                                    const rina::AppName& destination, std::uint32_t cookie,
                                    Outbox& out) {
    return machine_->allocate(now, source, destination, cookie, out);
}
Result<> ShimHv::accept(Instant now, FlowHandle flow, std::uint32_t cookie, Outbox& out) {
    return machine_->accept(now, flow, cookie, out);
}
Result<> ShimHv::refuse(Instant now, FlowHandle flow, rina::Reason reason, Outbox& out) {
    return machine_->refuse(now, flow, reason, out);
}
Result<> ShimHv::deallocate(Instant now, FlowHandle flow, Outbox& out) {
    return machine_->deallocate(now, flow, out);
}

DeviceState ShimHv::state() const noexcept { return machine_->state(); }
const AgreedLimits& ShimHv::limits() const noexcept { return machine_->limits(); }
const Params& ShimHv::params() const noexcept { return machine_->params(); }
const ControlCounters& ShimHv::counters() const noexcept { return machine_->counters(); }
DeviceInfo ShimHv::info() const { return machine_->info(); }

}  // namespace sluice::shim_hv
