#include "shim_end.hpp"

#include <cerrno>

namespace sluice::sim {

void ShimEnd::power_on() {
    ++life_;
    is_on_ = true;
    armed_ = Instant::never();
    core_start();
    settle();
}

void ShimEnd::power_off() {
    if (!is_on_) return;
    is_on_ = false;
    ++life_;
    for (auto& [id, flow] : flows_) drop_held(flow);
    flows_.clear();
    names_.clear();
    core_stop();
}

void ShimEnd::later(Duration d, std::function<void()> act) {
    env_.clock.after(d, [this, life = life_, act = std::move(act)] {
        if (life == life_) act();
    });
}

void ShimEnd::settle() {
    carry_out();
    arm();
}

void ShimEnd::arm() {
    const Instant next = core_deadline();
    if (next >= armed_) return;
    armed_ = next;
    later(next - env_.now(), [this, next] {
        if (armed_ != next) return;
        armed_ = Instant::never();
        core_timeout();
        settle();
    });
}

// ---- users ----

void ShimEnd::register_name(FlowUser& user, const rina::AppName& name) {
    if (!is_on_) return;
    names_[name.to_string()] = &user;
    core_register(name);
    settle();
}

void ShimEnd::unregister_name(const rina::AppName& name) {
    if (names_.erase(name.to_string()) == 0) return;
    core_unregister(name);
    settle();
}

Result<> ShimEnd::allocate(FlowUser& user, const rina::AppName& local,
                           const rina::AppName& remote, const mgmt::FlowSpec&,
                           std::uint32_t cookie) {
    if (!is_on_) return fail(ENODEV, "the node of {} is off", dif_);
    SLUICE_TRY(const PortId flow, core_allocate(local, remote, cookie));
    flows_[flow].user = &user;
    settle();
    return {};
}

void ShimEnd::accept(FlowUser& user, PortId id) {
    const auto at = flows_.find(id);
    if (at == flows_.end()) return;
    at->second.user = &user;
    at->second.is_known = true;
    // The request may have been withdrawn just now.
    const bool is_there = core_accept(id).has_value();
    settle();
    later({}, [this, id, is_there] {
        hand_up(id);
        const auto it = flows_.find(id);
        if (!is_there && it != flows_.end()) it->second.user->closed(*this, id);
    });
}

void ShimEnd::deallocate(PortId id) {
    const auto at = flows_.find(id);
    if (at == flows_.end()) return;
    drop_held(at->second);
    flows_.erase(at);
    core_deallocate(id);
    settle();
}

void ShimEnd::forget(FlowUser& user) { forget_user(*this, flows_, names_, user); }

// ---- SDUs ----

bool ShimEnd::write(PortId id, const Bytes& sdu) {
    const auto at = flows_.find(id);
    if (at == flows_.end()) return true;  // into the void
    if (!has_room(id)) {
        at->second.wants_room = true;
        arm();
        return false;
    }
    if (sdu.empty()) return true;  // only asked
    send(id, sdu);
    arm();
    return true;
}

void ShimEnd::wake(PortId id) {
    const auto at = flows_.find(id);
    if (at == flows_.end() || !std::exchange(at->second.wants_room, false)) return;
    later({}, [this, id] {
        const auto it = flows_.find(id);
        if (it != flows_.end() && it->second.user != nullptr) it->second.user->writable(*this, id);
    });
}

bool ShimEnd::waits_for_room(PortId id) const {
    const auto at = flows_.find(id);
    return at != flows_.end() && at->second.wants_room;
}

std::vector<PortId> ShimEnd::flows_that_wait() const {
    std::vector<PortId> out;
    for (const auto& [id, flow] : flows_)
        if (flow.wants_room) out.push_back(id);
    return out;
}

void ShimEnd::take(PortId id, Bytes sdu) {
    const auto at = flows_.find(id);
    if (at == flows_.end()) return env_.drop(DropReason::no_flow);
    if (at->second.is_known && at->second.held.empty())
        return at->second.user->arrived(*this, id, std::move(sdu));
    at->second.held.push_back(env_.buffers.make(std::move(sdu)));
}

void ShimEnd::hold(PortId id, Bytes sdu) {
    flows_.try_emplace(id);
    take(id, std::move(sdu));
}

void ShimEnd::hand_up(PortId id) {
    for (auto at = flows_.find(id); at != flows_.end() && !at->second.held.empty();
         at = flows_.find(id)) {
        const PduToken token = at->second.held.front();
        at->second.held.pop_front();
        at->second.user->arrived(*this, id, env_.buffers.take(token));
    }
}

void ShimEnd::drop_held(Flow& flow) {
    for (const PduToken token : flow.held) {
        env_.buffers.free(token);
        env_.drop(DropReason::no_flow);
    }
    flow.held.clear();
}

// ---- events ----

void ShimEnd::on_requested(PortId id, const rina::AppName& local, const rina::AppName& remote) {
    flows_.try_emplace(id);
    later(kEvent, [this, id, local, remote] {
        const auto at = flows_.find(id);
        if (at == flows_.end()) return;  // withdrawn
        const auto user = names_.find(local.to_string());
        if (user != names_.end()) return user->second->requested(*this, id, local, remote);
        drop_held(at->second);
        flows_.erase(at);
        core_refuse(id);
        settle();
    });
}

void ShimEnd::on_allocated(PortId id, std::uint32_t cookie) {
    later(kEvent, [this, id, cookie] {
        const auto at = flows_.find(id);
        if (at == flows_.end()) return;
        at->second.is_known = true;
        at->second.user->allocated(*this, id, cookie, {});
        hand_up(id);
    });
}

void ShimEnd::on_failed(PortId id, std::uint32_t cookie, std::string text) {
    later(kEvent, [this, id, cookie, text = std::move(text)] {
        const auto at = flows_.find(id);
        if (at == flows_.end()) return;
        FlowUser* const user = at->second.user;
        if (at->second.is_known) return user->closed(*this, id);
        drop_held(at->second);
        flows_.erase(at);
        if (user != nullptr) user->failed(*this, cookie, text);
    });
}

void ShimEnd::on_down(PortId id) {
    later(kEvent, [this, id] {
        const auto at = flows_.find(id);
        if (at != flows_.end() && at->second.user != nullptr) at->second.user->closed(*this, id);
    });
}

}  // namespace sluice::sim
