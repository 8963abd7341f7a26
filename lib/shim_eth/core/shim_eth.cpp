#include "shim_eth/core/shim_eth.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/check.hpp"
#include "rina/rlite_name.hpp"

// The flows: who may have one, and what the user is told. Finding stations is in stations.cpp.

namespace sluice::shim_eth {

namespace {

using rina::AppName;
using rina::Reason;

Result<std::string> wire_name(const AppName& name) {
    return rina::checked_rlite_name(name, rina::kRinaArpNameBytesMax);
}

// Only of names that have passed parse_rlite_name() or come from wire_name().
AppName app_name(const std::string& text) {
    auto name = rina::parse_rlite_name(text);
    SLUICE_CHECK(name.has_value());
    return *std::move(name);
}

}  // namespace

std::string_view to_string(Drop drop) noexcept {
    constexpr std::string_view kTexts[] = {
#define SLUICE_X(name, text) text,
        SLUICE_SHIM_ETH_DROPS(SLUICE_X)
#undef SLUICE_X
    };
    return drop < Drop::count_ ? kTexts[static_cast<std::size_t>(drop)] : "unknown";
}

Result<> Shim::check(const Config& config) {
    if (is_group(config.mac) || key_of(config.mac) == 0)
        return fail(EINVAL, "the MAC address of a shim must be that of one station");
    if (config.mtu < kMtuMin || config.mtu > kMtuMax)
        return fail(EINVAL, "an MTU of {} is not possible, expected {} to {}", config.mtu, kMtuMin,
                    kMtuMax);
    if (config.vlan > kVlanIdMax)
        return fail(EINVAL, "VLAN {} does not exist, expected 1 to {}, or 0 for no tag",
                    config.vlan, kVlanIdMax);
    if (config.priority > 7)
        return fail(EINVAL, "VLAN priority {} does not exist, expected 0 to 7", config.priority);
    const Duration zero{};
    if (config.ask_tries == 0 || config.ask_every <= zero || config.flow_del_wait < zero ||
        config.accept_wait <= zero || config.cache_age <= zero)
        return fail(EINVAL, "the shim's waiting times and its number of tries must be positive");
    return {};
}

Shim::Shim(const Config& config, Outbox& out) : config_(config), out_(out) {
    SLUICE_CHECK(check(config).has_value());
}

Result<> Shim::register_app(const AppName& name) {
    SLUICE_TRY(std::string text, wire_name(name));
    if (std::find(apps_.begin(), apps_.end(), text) != apps_.end())
        return fail(EEXIST, "{} is registered on this shim already", text);
    if (apps_.size() >= kAppsMax)
        return fail(ENOSPC, "{} cannot be registered: a shim takes {} names", text, kAppsMax);
    apps_.push_back(std::move(text));
    return {};
}

Result<> Shim::unregister_app(Instant now, const AppName& name) {
    SLUICE_TRY(const std::string text, wire_name(name));
    const auto app = std::find(apps_.begin(), apps_.end(), text);
    if (app == apps_.end()) return fail(ENOENT, "{} is not registered on this shim", text);
    apps_.erase(app);
    for (auto& [handle, flow] : flows_) {
        if (flow.state != State::requested || flow.local != text) continue;
        out_.add(FlowFailed{handle, 0, Reason::unregistered,
                            fmt::format("{} was unregistered before it took the flow", text)});
        linger(now, flow);
    }
    return {};
}

Result<FlowHandle> Shim::allocate(Instant now, const AppName& local, const AppName& remote,
                                  std::uint32_t cookie) {
    SLUICE_TRY(std::string from, wire_name(local));
    SLUICE_TRY(std::string to, wire_name(remote));
    if (!link_up_) return fail(ENETDOWN, "no flow to {} is possible: the link is down", to);
    if (flows_.size() >= kFlowsMax)
        return fail(ENOSPC, "no flow to {} is possible: there are {} already", to, flows_.size());
    if (in_use(to))
        return fail(EBUSY, "there is a flow between this shim and {} already, or one that was "
                    "closed less than {} ago", to, to_string(config_.flow_del_wait));
    const auto cached = cache_.find(to);
    const bool known = cached != cache_.end() && now < cached->second.stale_at;
    if (known) {
        const Peer* const peer = find_peer(cached->second.mac);
        if (peer != nullptr && peer->flow != FlowHandle{})
            return fail(EBUSY, "the station of {} has a flow with this shim already, under the "
                        "name {}", to, peer->remote);
    }
    const FlowHandle handle{++last_handle_};
    Flow& flow = flows_[handle];
    flow.cookie = cookie;
    flow.local = std::move(from);
    flow.remote = std::move(to);
    if (known) {
        // As with rlite: no frame says so to the peer.
        resolved(now, handle, flow, cached->second.mac);
        return handle;
    }
    flow.tries = 1;
    flow.deadline = now + config_.ask_every;
    ask(flow.local, flow.remote);
    return handle;
}

Result<> Shim::accept(Instant now, FlowHandle handle) {
    const auto it = flows_.find(handle);
    if (it == flows_.end() || it->second.state != State::requested)
        return fail(ENOENT, "flow {} does not wait for being accepted", handle.value);
    it->second.state = State::allocated;
    it->second.deadline = Instant::never();
    --requests_;
    return {};
}

Result<> Shim::refuse(Instant now, FlowHandle handle) {
    const auto it = flows_.find(handle);
    if (it == flows_.end() || it->second.state != State::requested)
        return fail(ENOENT, "flow {} does not wait for being accepted", handle.value);
    linger(now, it->second);
    return {};
}

Result<> Shim::deallocate(Instant now, FlowHandle handle) {
    const auto it = flows_.find(handle);
    if (it == flows_.end() || it->second.state == State::lingering)
        return fail(ENOENT, "there is no flow {}", handle.value);
    if (it->second.state == State::resolving) {
        flows_.erase(it);
        return {};
    }
    // The name of a station that has been silent may be another one's by now: the next one asks.
    const Duration doubt = config_.ask_every * static_cast<std::int64_t>(config_.ask_tries);
    if (now >= it->second.heard + doubt) cache_.erase(it->second.remote);
    linger(now, it->second);
    return {};
}

void Shim::set_link(Instant now, bool up) {
    if (up == link_up_) return;
    link_up_ = up;
    // Who is behind the link may be another station when it comes back.
    cache_.clear();
    for (auto it = flows_.begin(); it != flows_.end();) {
        const auto here = it++;
        Flow& flow = here->second;
        if (flow.state == State::allocated && up) out_.add(FlowUp{here->first});
        if (flow.state == State::allocated && !up)
            out_.add(FlowDown{here->first, Reason::link_down});
        if (flow.state == State::resolving)
            fail_flow(here, Reason::link_down,
                      fmt::format("the link went down while {} was looked for", flow.remote));
    }
}

Header Shim::header_for(FlowHandle handle) const noexcept {
    const auto it = flows_.find(handle);
    if (!link_up_ || it == flows_.end() || it->second.state != State::allocated) return {};
    return make_header(it->second.mac, config_.mac, config_.vlan, config_.priority,
                       rina::kEtherTypeRina);
}

Verdict Shim::dropped_as(Drop drop) noexcept {
    ++drops_[static_cast<std::size_t>(drop)];
    Verdict verdict;
    verdict.drop = drop;
    return verdict;
}

Verdict Shim::on_frame(Instant now, std::span<const std::byte> frame) {
    if (!link_up_) return dropped_as(Drop::link_down);
    const ParsedHeader header = parse_header(frame);
    if (header.size == 0) return dropped_as(Drop::too_short);
    // A tag with a priority only is no VLAN (IEEE 802.1Q, 9.6).
    if (header.vlan != config_.vlan) return dropped_as(Drop::other_vlan);
    const bool is_arp = header.ether_type == rina::kEtherTypeArp;
    if (!is_arp && header.ether_type != rina::kEtherTypeRina) return dropped_as(Drop::other_type);
    const bool broadcast = header.destination == rina::kBroadcastMac;
    if (header.destination != config_.mac && !(is_arp && broadcast))
        return dropped_as(Drop::not_for_us);
    if (is_group(header.source) || header.source == config_.mac)
        return dropped_as(Drop::bad_source);
    if (frame.size() - header.size > config_.mtu) return dropped_as(Drop::too_long);
    if (is_arp) return arp(now, header, frame.subspan(header.size));
    return data(now, header, frame.size());
}

Verdict Shim::data(Instant now, const ParsedHeader& header, std::size_t frame_size) {
    Peer* const peer = find_peer(header.source);
    if (peer == nullptr) return dropped_as(Drop::unknown_station);
    if (frame_size == header.size) return dropped_as(Drop::empty);
    if (peer->flow == FlowHandle{}) {
        const FlowHandle ours = resolving_to(peer->local, peer->remote);
        // Both ends want the flow, and the other one is ahead: it asked for us under the name that
        // we are looking for.
        if (ours != FlowHandle{}) {
            remember(now, peer->remote, peer->local, header.source);
            resolved(now, ours, flows_.find(ours)->second, header.source);
        } else if (const Verdict refused = request(now, *peer, header.source);
                   refused.drop != Drop::none) {
            return refused;
        }
    }
    Flow& flow = flows_.find(peer->flow)->second;
    if (flow.state == State::lingering) return dropped_as(Drop::closed);
    flow.heard = now;
    Verdict verdict{Verdict::Kind::data, Drop::none, peer->flow, header.size,
                    static_cast<std::uint32_t>(frame_size - header.size)};
    if (flow.state == State::requested) {
        if (flow.held >= kHoldMax) return dropped_as(Drop::hold_full);
        ++flow.held;
        verdict.kind = Verdict::Kind::hold;
    }
    return verdict;
}

Verdict Shim::request(Instant now, Peer& peer, const rina::MacAddress& mac) {
    if (std::find(apps_.begin(), apps_.end(), peer.local) == apps_.end())
        return dropped_as(Drop::unregistered);
    if (requests_ >= kRequestsMax || flows_.size() >= kFlowsMax)
        return dropped_as(Drop::request_limit);
    const FlowHandle handle{++last_handle_};
    Flow& flow = flows_[handle];
    flow.state = State::requested;
    flow.heard = now;
    flow.local = peer.local;
    flow.remote = peer.remote;
    flow.mac = mac;
    flow.deadline = now + config_.accept_wait;
    peer.flow = handle;
    ++requests_;
    out_.add(FlowRequested{handle, app_name(flow.local), app_name(flow.remote)});
    return {};
}

void Shim::resolved(Instant now, FlowHandle handle, Flow& flow, const rina::MacAddress& mac) {
    Peer* const peer = add_peer(now, mac);
    if (peer == nullptr || peer->flow != FlowHandle{}) {
        const bool busy = peer != nullptr;
        fail_flow(flows_.find(handle), busy ? Reason::busy : Reason::out_of_memory,
                  busy ? fmt::format("the station of {} has a flow with this shim already, under "
                                     "the name {}", flow.remote, peer->remote)
                       : fmt::format("no flow to {} is possible: flows with {} other stations",
                                     flow.remote, peers_.size()));
        return;
    }
    peer->flow = handle;
    peer->local = flow.local;
    peer->remote = flow.remote;
    flow.mac = mac;
    flow.state = State::allocated;
    flow.heard = now;
    flow.deadline = Instant::never();
    out_.add(FlowAllocated{handle, flow.cookie, max_sdu()});
}

void Shim::linger(Instant now, Flow& flow) {
    if (flow.state == State::requested) --requests_;
    flow.state = State::lingering;
    flow.deadline = now + config_.flow_del_wait;
}

void Shim::fail_flow(Flows::iterator it, Reason reason, std::string text) {
    out_.add(FlowFailed{it->first, it->second.cookie, reason, std::move(text)});
    flows_.erase(it);
}

bool Shim::in_use(const std::string& name) const noexcept {
    return std::any_of(flows_.begin(), flows_.end(),
                       [&name](const auto& entry) { return entry.second.remote == name; });
}

void Shim::flow_timeout(Instant now, Flows::iterator it) {
    Flow& flow = it->second;
    if (flow.state == State::resolving) {
        if (flow.tries >= config_.ask_tries)
            return fail_flow(it, Reason::timed_out,
                             fmt::format("nobody on this link has the name {}: asked {} times, "
                                         "{} apart", flow.remote, flow.tries,
                                         to_string(config_.ask_every)));
        ++flow.tries;
        // From now: a shim that was not asked for a while does not catch up in a burst.
        flow.deadline = now + config_.ask_every;
        return ask(flow.local, flow.remote);
    }
    if (flow.state == State::requested) {
        out_.add(FlowFailed{it->first, 0, Reason::timed_out,
                            fmt::format("{} did not answer the request of {} within {}", flow.local,
                                        flow.remote, to_string(config_.accept_wait))});
        return linger(now, flow);
    }
    Peer* const peer = find_peer(flow.mac);
    if (peer != nullptr && peer->flow == it->first) peer->flow = FlowHandle{};
    flows_.erase(it);
}

void Shim::on_timeout(Instant now) {
    for (auto it = flows_.begin(); it != flows_.end();) {
        const auto here = it++;
        if (now >= here->second.deadline) flow_timeout(now, here);
    }
    age_cache(now);
}

Instant Shim::next_deadline() const noexcept {
    Instant next = Instant::never();
    for (const auto& [handle, flow] : flows_) next = earlier(next, flow.deadline);
    for (const auto& [name, entry] : cache_) next = earlier(next, entry.stale_at);
    return next;
}

}  // namespace sluice::shim_eth
