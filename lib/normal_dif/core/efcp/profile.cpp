#include "normal_dif/core/efcp/profile.hpp"

#include <initializer_list>

namespace sluice::efcp {

namespace {

std::uint64_t number(bool value) noexcept { return value ? 1 : 0; }
template <typename T>
std::uint64_t number(T value) noexcept {
    return static_cast<std::uint64_t>(value);
}

// Of what peers choose. The rest is alike in an IPC process, and compared anyway.
std::uint64_t hash(const Profile& profile) noexcept {
    const EfcpPolicies& p = profile.policies;
    const WindowPolicy window = p.window.value_or(WindowPolicy{0, 0});
    const RatePolicy rate = p.rate.value_or(RatePolicy{});
    const RetransmissionPolicy again =
        p.retransmission.value_or(RetransmissionPolicy{Duration{}, 0, Duration{}});
    std::uint64_t mixed = 0;
    for (const std::uint64_t value :
         {number(p.in_order), number(p.max_sdu_gap), number(window.initial_credit),
          number(window.closed_queue_max), number(rate.pdus), number(rate.period.ns),
          number(again.initial_timeout.ns), number(again.retries_max), number(again.time_max.ns),
          number(p.a_timer.ns), number(p.mpl.ns), number(p.congestion), number(p.sack),
          number(p.dialect), number(p.send_queue_max), number(p.initial_sequence),
          number(profile.format.bytes())}) {
        // The finalizer of MurmurHash3, each time.
        mixed ^= value;
        mixed = (mixed ^ mixed >> 33) * 0xff51afd7ed558ccd;
        mixed = (mixed ^ mixed >> 33) * 0xc4ceb9fe1a85ec53;
        mixed ^= mixed >> 33;
    }
    return mixed;
}

}  // namespace

ProfileRef::ProfileRef(const Profile& profile) : node_(new Node{profile, nullptr, 1}) {}

void ProfileRef::release() noexcept {
    if (node_->table != nullptr) node_->table->forget(*node_);
    delete node_;
}

ProfileTable::~ProfileTable() {
    for (const auto& [key, node] : nodes_) node->table = nullptr;
}

ProfileRef ProfileTable::intern(const Profile& profile) {
    const std::uint64_t key = hash(profile);
    const auto [first, last] = nodes_.equal_range(key);
    for (auto it = first; it != last; ++it)
        if (it->second->profile == profile) return ProfileRef(*it->second);
    ProfileRef ref(profile);
    nodes_.emplace(key, ref.node_);
    ref.node_->table = this;
    return ref;
}

void ProfileTable::forget(const ProfileRef::Node& node) noexcept {
    const auto [first, last] = nodes_.equal_range(hash(node.profile));
    for (auto it = first; it != last; ++it) {
        if (it->second != &node) continue;
        nodes_.erase(it);
        return;
    }
}

}  // namespace sluice::efcp
