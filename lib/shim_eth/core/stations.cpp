// Which station has which name: RINA-ARP, its cache, and its limits.

#include <algorithm>
#include <array>

#include "rina/rlite_name.hpp"
#include "shim_eth/core/shim_eth.hpp"

namespace sluice::shim_eth {

using rina::RinaArp;

bool Shim::Bucket::take(Instant now, Duration gap, std::uint32_t burst) noexcept {
    const Instant from = full_at < now ? now : full_at;
    if (from + gap > now + gap * static_cast<std::int64_t>(burst)) return false;
    full_at = from + gap;
    return true;
}

Shim::Peer* Shim::find_peer(const rina::MacAddress& mac) noexcept {
    const auto it = peers_.find(key_of(mac));
    return it == peers_.end() ? nullptr : &it->second;
}

// Null if all the places are taken by stations that have a flow.
Shim::Peer* Shim::add_peer(Instant now, const rina::MacAddress& mac) {
    if (Peer* const known = find_peer(mac); known != nullptr) {
        known->seen = now;
        return known;
    }
    if (peers_.size() >= kPeersMax) {
        auto oldest = peers_.end();
        for (auto it = peers_.begin(); it != peers_.end(); ++it)
            if (it->second.flow == FlowHandle{} &&
                (oldest == peers_.end() || it->second.seen < oldest->second.seen))
                oldest = it;
        if (oldest == peers_.end()) return nullptr;
        peers_.erase(oldest);
    }
    Peer& peer = peers_[key_of(mac)];
    peer.seen = now;
    return &peer;
}

// The name of ours that a request is for. rlite's rule lets a registered name stand for all that
// begin with it; the longest says most.
const std::string* Shim::registered_for(std::string_view target) const noexcept {
    const std::string* best = nullptr;
    for (const std::string& app : apps_)
        if (rina::names(target, app) && (best == nullptr || app.size() > best->size())) best = &app;
    return best;
}

FlowHandle Shim::resolving_to(std::string_view local, std::string_view remote) const noexcept {
    for (const auto& [handle, flow] : flows_)
        if (flow.state == State::resolving && flow.local == local && flow.remote == remote)
            return handle;
    return {};
}

void Shim::send_arp(const RinaArp& arp, const rina::MacAddress& destination) {
    std::array<std::byte, rina::kRinaArpBytesMax> body{};
    const std::size_t size = rina::write(arp, body);
    const Header header = make_header(destination, config_.mac, config_.vlan, config_.priority,
                                      rina::kEtherTypeArp);
    SendFrame frame;
    frame.bytes.reserve(header.size + size);
    frame.bytes.assign(header.view().begin(), header.view().end());
    frame.bytes.insert(frame.bytes.end(), body.begin(),
                       body.begin() + static_cast<std::ptrdiff_t>(size));
    out_.add(std::move(frame));
}

void Shim::ask(std::string_view local, std::string_view remote) {
    send_arp({RinaArp::Operation::request, config_.mac, local, {}, remote}, rina::kBroadcastMac);
}

Verdict Shim::arp(Instant now, const ParsedHeader& header, std::span<const std::byte> body) {
    RinaArp arp;
    const rina::ArpError error = rina::parse(body, arp);
    if (error == rina::ArpError::other_protocol) return dropped_as(Drop::other_type);
    if (error != rina::ArpError::none) return dropped_as(Drop::bad_arp);
    // Names go on to users, so they must be ones.
    if (!rina::parse_rlite_name(arp.sender) || !rina::parse_rlite_name(arp.target))
        return dropped_as(Drop::bad_arp);
    if (arp.sender_mac != header.source) return dropped_as(Drop::forged_arp);
    if (arp.operation == RinaArp::Operation::request) return arp_request(now, arp);
    // A reply to all is one that nobody asked for: ours are asked from one station.
    if (header.destination != config_.mac || arp.target_mac != config_.mac)
        return dropped_as(Drop::unsolicited);
    return arp_reply(now, arp);
}

Verdict Shim::arp_request(Instant now, const RinaArp& arp) {
    const std::string* const app = registered_for(arp.target);
    if (app == nullptr) return dropped_as(Drop::not_registered);
    Peer* peer = find_peer(arp.sender_mac);
    // Who changes its address with each request is a stranger each time.
    const bool within = peer != nullptr ? peer->asks.take(now, kAskGap, kAskBurst)
                                        : strangers_.take(now, kStrangerGap, kStrangerBurst);
    if (!within) return dropped_as(Drop::ask_rate);
    peer = add_peer(now, arp.sender_mac);
    if (peer == nullptr) return dropped_as(Drop::ask_rate);
    // "a|" and "a" are one name.
    const std::string sender = rina::rlite_name(*rina::parse_rlite_name(arp.sender));
    const auto cached = cache_.find(sender);
    if (cached != cache_.end() && cached->second.mac != arp.sender_mac) ++conflicts_;
    // A flow keeps the names that it began with.
    if (peer->flow == FlowHandle{}) {
        peer->local = *app;
        peer->remote = sender;
    }
    send_arp({RinaArp::Operation::reply, config_.mac, *app, arp.sender_mac, arp.sender},
             arp.sender_mac);
    return {Verdict::Kind::control};
}

Verdict Shim::arp_reply(Instant now, const RinaArp& arp) {
    // The name of ours that this may answer: the same, or one that begins with it, by rlite's rule.
    auto found = flows_.end();
    for (auto it = flows_.begin(); it != flows_.end(); ++it) {
        const Flow& flow = it->second;
        if (flow.state != State::resolving || flow.local != arp.target ||
            !rina::names(flow.remote, arp.sender))
            continue;
        if (found == flows_.end() || flow.remote == arp.sender) found = it;
    }
    if (found != flows_.end()) {
        remember(now, found->second.remote, found->second.local, arp.sender_mac);
        resolved(now, found->first, found->second, arp.sender_mac);
        return {Verdict::Kind::control};
    }
    const auto cached = cache_.lower_bound(std::string(arp.sender));
    for (auto it = cached; it != cache_.end() && rina::names(it->first, arp.sender); ++it) {
        Cached& entry = it->second;
        if (entry.local != arp.target) continue;
        if (entry.mac != arp.sender_mac) {
            ++conflicts_;
            return dropped_as(Drop::conflict);
        }
        if (!entry.asked_again) continue;
        entry.asked_again = false;
        entry.stale_at = now + config_.cache_age;
        return {Verdict::Kind::control};
    }
    return dropped_as(Drop::unsolicited);
}

void Shim::remember(Instant now, const std::string& name, const std::string& local,
                    const rina::MacAddress& mac) {
    if (cache_.size() >= kCacheMax && cache_.find(name) == cache_.end()) {
        const auto oldest = std::min_element(
            cache_.begin(), cache_.end(),
            [](const auto& a, const auto& b) { return a.second.stale_at < b.second.stale_at; });
        cache_.erase(oldest);
    }
    cache_[name] = {mac, now + config_.cache_age, false, local};
}

// A name in use is asked for again, once, and forgotten if nobody answers: the flow stays, as its
// end is not ours to decide, but the next one will ask.
void Shim::age_cache(Instant now) {
    for (auto it = cache_.begin(); it != cache_.end();) {
        Cached& entry = it->second;
        if (now < entry.stale_at) {
            ++it;
        } else if (!entry.asked_again && in_use(it->first)) {
            entry.asked_again = true;
            entry.stale_at = now + config_.ask_every;
            ask(entry.local, it->first);
            ++it;
        } else {
            it = cache_.erase(it);
        }
    }
}

}  // namespace sluice::shim_eth
