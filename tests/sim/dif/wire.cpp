#include "wire.hpp"

namespace sluice::sim {

namespace {
constexpr Duration kSignal = Duration::microseconds(50);
}

Wire::Wire(Env& env, std::string dif, const link_model::Config& config)
    : env_(env), dif_(std::move(dif)) {
    for (std::size_t side = 0; side < 2; ++side) {
        ends_[side].wire = this;
        ends_[side].side = side;
    }
    set_config(config);
}

void Wire::set_config(const link_model::Config& config) {
    for (End& end : ends_) end.model.set_config(config);
}

void Wire::cut(std::size_t, std::size_t, bool silently) {
    (silently ? silent_ : up_) = silently;
    if (silently) return;
    for (End& end : ends_)
        for (auto& [id, flow] : end.flows)
            if (std::exchange(flow.is_open, false))
                env_.clock.after({}, [&end, id = id] {
                    const auto at = end.flows.find(id);
                    if (at != end.flows.end()) at->second.user->closed(end, id);
                });
}

void Wire::mend(std::size_t, std::size_t) { up_ = true, silent_ = false; }

// Loudly, its flows are closed one by one as the node is torn down.
void Wire::power_off(std::size_t side, bool silently) {
    if (silently && is_up()) ends_[side].flows.clear();
}

void Wire::End::register_name(FlowUser& user, const rina::AppName& name) {
    names[name.to_string()] = &user;
}
void Wire::End::unregister_name(const rina::AppName& name) { names.erase(name.to_string()); }

Result<> Wire::End::allocate(FlowUser& user, const rina::AppName& local,
                             const rina::AppName& remote, const mgmt::FlowSpec&,
                             std::uint32_t cookie) {
    // By a number, as the user may be gone when the answer comes.
    const PortId id{next_flow++};
    flows[id] = {&user, {}, false, false};
    wire->env_.clock.after(kSignal, [this, id, local, remote, cookie] {
        const auto mine = flows.find(id);
        if (mine == flows.end()) return;
        FlowUser& asker = *mine->second.user;
        End& other = wire->ends_[1 - side];
        const auto target = other.names.find(remote.to_string());
        if (!wire->is_up() || target == other.names.end()) {
            flows.erase(mine);
            return asker.failed(*this, cookie, wire->is_up() ? "no such name" : "link down");
        }
        const PortId theirs{other.next_flow++};
        mine->second.peer = theirs;
        mine->second.is_open = true;
        other.flows[theirs] = {target->second, id, true, false};
        target->second->requested(other, theirs, remote, local);
        wire->env_.clock.after(kSignal, [this, id, cookie] {
            const auto at = flows.find(id);
            if (at != flows.end()) at->second.user->allocated(*this, id, cookie, {});
        });
    });
    return {};
}

void Wire::End::accept(FlowUser& user, PortId flow) { flows.at(flow).user = &user; }

void Wire::End::deallocate(PortId flow) {
    const auto at = flows.find(flow);
    if (at == flows.end()) return;
    const PortId peer = at->second.peer;
    const bool tells = at->second.is_open && !wire->silent_;
    flows.erase(at);
    if (!tells) return;
    // Behind what was sent before.
    const Duration way = model.config().delay.most + kSignal * 2;
    wire->env_.clock.after(way, [this, peer] { wire->hang_up(1 - side, peer); });
}

void Wire::hang_up(std::size_t side, PortId flow) {
    End& end = ends_[side];
    const auto at = end.flows.find(flow);
    if (at == end.flows.end() || !std::exchange(at->second.is_open, false)) return;
    at->second.user->closed(end, flow);
}

void Wire::End::forget(FlowUser& user) {
    std::erase_if(names, [&](const auto& n) { return n.second == &user; });
    std::vector<PortId> ended;
    for (const auto& [id, flow] : flows)
        if (flow.user == &user) ended.push_back(id);
    for (const PortId id : ended) deallocate(id);
}

bool Wire::End::write(PortId flow, const Bytes& sdu) {
    const auto at = flows.find(flow);
    if (at == flows.end() || !at->second.is_open) return true;  // into the void
    Env& env = wire->env_;
    if (const Duration wait = ring_full_for(model, env.now()); wait.ns != 0) {
        if (!std::exchange(at->second.wants_room, true))
            env.clock.after(wait, [this, flow] {
                const auto it = flows.find(flow);
                if (it == flows.end()) return;
                it->second.wants_room = false;
                it->second.user->writable(*this, flow);
            });
        return false;
    }
    if (sdu.empty()) return true;  // only asked
    ++wire->frames;
    wire->bytes += sdu.size();
    const link_model::LinkVerdict v = model.apply(env.now(), env.rng, sdu.size() + 24);
    if (wire->silent_) return true;
    End& other = wire->ends_[1 - side];
    for (std::uint8_t i = 0; i < v.copies; ++i)
        env.clock.at(v.at[i], [this, &other, sdu, peer = at->second.peer] {
            const auto to = other.flows.find(peer);
            if (to == other.flows.end() || !to->second.is_open || wire->silent_) return;
            wire->env_.trace.note(wire->env_.now(), wire->dif_, other.side, sdu.size());
            to->second.user->arrived(other, peer, sdu);
        });
    return true;
}

}  // namespace sluice::sim
