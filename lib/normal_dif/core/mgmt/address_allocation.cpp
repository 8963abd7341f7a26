#include "normal_dif/core/mgmt/address_allocation.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "normal_dif/core/faults.hpp"

namespace sluice::mgmt {

using rina::Address;
using rina::AddrAllocRequest;

namespace {

// What rlite's nodes call themselves before they have an address: nobody else should have it.
constexpr Address kUnenrolled{1};

Result<AddressConfig> make_static(policy::Params& params) {
    AddressConfig config;
    config.policy = AddressPolicy::static_;
    SLUICE_TRY_VOID(params.finish());
    return config;
}

Result<AddressConfig> make_distributed(policy::Params& params) {
    AddressConfig config;
    config.nack_wait = Duration::milliseconds(static_cast<std::int64_t>(params.number(
        "nack_wait_ms", 4000, 1, 60000, "how long others may object to a claim")));
    SLUICE_TRY_VOID(params.finish());
    return config;
}

constexpr std::array kPolicies = {
    AddressPolicyInfo{"static", "an operator says; new members keep what they have", "",
                      make_static},
    AddressPolicyInfo{"distributed", "the enroller claims one, and takes it if nobody objects",
                      "nack_wait_ms=4000", make_distributed},
};

}  // namespace

std::string_view to_string(AddressPolicy policy) noexcept {
    return policy == AddressPolicy::static_ ? "static" : "distributed";
}

Result<AddressConfig> make_address_config(std::string_view name,
                                          std::span<const policy::Param> params) {
    std::vector<std::string> names;
    for (const AddressPolicyInfo& known : kPolicies) {
        if (known.name == name) {
            policy::Params reader(fmt::format("address allocation {}", name), params);
            return known.make(reader);
        }
        names.emplace_back(known.name);
    }
    return fail(EINVAL, "address allocation '{}' is not known, expected one of {}", name,
                policy::join(names));
}

std::span<const AddressPolicyInfo> address_policies() noexcept { return kPolicies; }

void AddressAllocator::set_config(Instant now, const AddressConfig& config) {
    // All by the same time: their order stays.
    for (Claim& claim : claims_)
        claim.settled_at =
            std::max(now, claim.settled_at + (config.nack_wait - config_.nack_wait));
    config_ = config;
}

void AddressAllocator::refuse(Refusal refusal, Changes<AddrAllocRequest>& out) {
    out.refused.add(refusal);
    refused_.add(refusal);
}

bool AddressAllocator::is_valid(const AddrAllocRequest& request) const {
    return is_node_name(request.requestor) && request.address.value > 0 &&
           request.address <= config_.address_max;
}

bool AddressAllocator::may_take(std::string_view sender, Changes<AddrAllocRequest>& out) {
    auto at = per_sender_.find(sender);
    if (at == per_sender_.end()) at = per_sender_.emplace(sender, 0).first;
    if (at->second >= config_.updates_per_sender_max) {
        refuse(Refusal::sender_busy, out);
        return false;
    }
    if (table_.size() >= config_.entries_max) {
        refuse(Refusal::table_full, out);
        return false;
    }
    ++at->second;
    return true;
}

// ---- our own claims ----------------------------------------------------------------------------

bool AddressAllocator::is_free(Address address, const NeighborTable& members) const {
    return address.value != 0 && address != kUnenrolled && !table_.contains(address) &&
           !members.is_taken(address);
}

std::optional<Address> AddressAllocator::choose(const NeighborTable& members) {
    // Four times as many as are known to be in use: two enrollers seldom choose the same.
    const std::uint64_t known = std::max(table_.size(), members.size() + 1);
    const std::uint64_t range = std::min(config_.address_max.value, 4 * (known + 1));
    const std::uint64_t start = rng_.below(range);
    for (std::uint64_t i = 0; i < range; ++i) {
        const Address address{(start + i) % range + 1};
        if (is_free(address, members)) return address;
    }
    return std::nullopt;
}

void AddressAllocator::try_next(Instant now, Claim claim, const NeighborTable& members,
                                Output& out) {
    const std::optional<Address> address =
        claim.attempts < config_.attempts_max && table_.size() < config_.entries_max
            ? choose(members)
            : std::nullopt;
    if (!address) {
        out.done.push_back({claim.id, Address{0}});
        return;
    }
    ++claim.attempts;
    claim.address = *address;
    claim.settled_at = now + config_.nack_wait;
    claims_.push_back(claim);
    table_.emplace(*address, self_);
    out.claims.create_all.push_back({self_, *address});
}

ClaimId AddressAllocator::begin(Instant now, const NeighborTable& members, Output& out,
                                bool in_any_case) {
    const ClaimId id{next_claim_++};
    if ((config_.policy == AddressPolicy::static_ && !in_any_case) ||
        claims_.size() >= config_.claims_max)
        out.done.push_back({id, Address{0}});
    else
        try_next(now, {id, Address{0}, now, 0}, members, out);
    return id;
}

Changes<AddrAllocRequest> AddressAllocator::cancel(ClaimId claim) {
    const auto at = std::find_if(claims_.begin(), claims_.end(),
                                 [&](const Claim& c) { return c.id == claim; });
    if (at == claims_.end()) return {};
    const Address address = at->address;
    claims_.erase(at);
    return release(address);
}

std::deque<AddressAllocator::Claim>::iterator AddressAllocator::pending(Address address) {
    return std::find_if(claims_.begin(), claims_.end(),
                        [&](const Claim& c) { return c.address == address; });
}

void AddressAllocator::lose(Instant now, std::deque<Claim>::iterator at,
                            const NeighborTable& members, Output& out) {
    const Claim claim = *at;
    claims_.erase(at);
    try_next(now, claim, members, out);
}

AddressAllocator::Output AddressAllocator::on_timeout(Instant now, const NeighborTable& members) {
    Output out;
    while (!claims_.empty() && claims_.front().settled_at <= now) {
        const auto at = claims_.begin();
        // Somebody came in with it meanwhile, by enrolling elsewhere or with an address of its own.
        if (members.is_taken(at->address)) {
            lose(now, at, members, out);
            continue;
        }
        out.done.push_back({at->id, at->address});
        claims_.pop_front();
    }
    return out;
}

Instant AddressAllocator::next_deadline() const {
    return claims_.empty() ? Instant::never() : claims_.front().settled_at;
}

void AddressAllocator::tick() {
    per_sender_.clear();
    nacks_ = 0;
    // What somebody objected to is held back only from the claims that were under way.
    if (claims_.empty()) std::erase_if(table_, [](const auto& e) { return e.second.empty(); });
}

bool AddressAllocator::must_move(const NeighborTable& members) {
    const std::optional<std::string_view> holder = members.name_of(members.own().address);
    return holder && *holder > members.self() &&
           !faults::is_active(faults::Fault::double_address_kept);
}

// ---- claims of others --------------------------------------------------------------------------

void AddressAllocator::object(const AddrAllocRequest& request, Output& out) {
    if (nacks_ >= config_.nacks_max) return refuse(Refusal::sender_busy, out.claims);
    ++nacks_;
    out.nacks.push_back(request);
}

AddressAllocator::Output AddressAllocator::apply_claim(Instant now, Action action,
                                                       const AddrAllocRequest& request,
                                                       const NeighborTable& members,
                                                       std::string_view sender) {
    Output out;
    if (!is_valid(request)) {
        refuse(Refusal::malformed, out.claims);
        return out;
    }
    const auto ours = pending(request.address);
    if (request.requestor == self_) {
        // An objection, or our own claim that came round.
        if (action == Action::remove && ours != claims_.end()) {
            ++out.claims.contested;
            table_[request.address] = "";  // whose it is we do not know
            lose(now, ours, members, out);
        } else {
            ++out.claims.known;
        }
        return out;
    }
    const auto entry = table_.find(request.address);
    if (action == Action::remove) {
        if (entry == table_.end() || entry->second != request.requestor) {
            ++out.claims.known;
            return out;
        }
        table_.erase(entry);
        out.claims.changed = true;
        out.claims.remove.push_back(request);
        return out;
    }
    if (entry != table_.end() && entry->second == request.requestor) {
        ++out.claims.known;
        return out;
    }
    // Of two that claim at the same time the one with the smaller name gives way.
    if (ours != claims_.end() && self_ < request.requestor) {
        ++out.claims.contested;
        table_[request.address] = request.requestor;
        lose(now, ours, members, out);
        out.claims.create.push_back(request);
        return out;
    }
    if (entry != table_.end() || members.is_taken(request.address)) {
        object(request, out);
        return out;
    }
    if (!may_take(sender, out.claims)) return out;
    table_.emplace(request.address, request.requestor);
    out.claims.changed = true;
    out.claims.create.push_back(request);
    return out;
}

AddressAllocator::Output AddressAllocator::apply_entries(Instant now, Action action,
                                                         const rina::AddrAllocEntries& list,
                                                         const NeighborTable& members,
                                                         std::string_view sender) {
    Output out;
    for (const AddrAllocRequest& request : list.entries) {
        if (!is_valid(request)) {
            refuse(Refusal::malformed, out.entries);
            continue;
        }
        const auto entry = table_.find(request.address);
        const bool is_ours = entry != table_.end() && entry->second == self_;
        if (action == Action::create) {
            const auto ours = pending(request.address);
            if (ours != claims_.end() && request.requestor != self_) {
                ++out.entries.contested;
                entry->second = request.requestor;
                lose(now, ours, members, out);
            } else if (entry != table_.end()) {
                // Who was first has it; two that came in with one are found by must_move().
                ++out.entries.known;
            } else if (may_take(sender, out.entries)) {
                table_.emplace(request.address, request.requestor);
                out.entries.create.push_back(request);
            }
        } else if (is_ours) {
            refuse(Refusal::about_us, out.entries);
        } else if (entry == table_.end() || entry->second != request.requestor) {
            ++out.entries.known;
        } else {
            table_.erase(entry);
            out.entries.remove.push_back(request);
        }
    }
    out.entries.changed = !out.entries.silent();
    return out;
}

Changes<AddrAllocRequest> AddressAllocator::release(Address address) {
    Changes<AddrAllocRequest> out;
    const auto at = table_.find(address);
    if (at == table_.end() || pending(address) != claims_.end()) return out;
    if (is_node_name(at->second)) out.remove_all.push_back({at->second, address});
    out.changed = true;
    table_.erase(at);
    return out;
}

std::vector<AddrAllocRequest> AddressAllocator::snapshot() const {
    std::vector<AddrAllocRequest> all;
    all.reserve(table_.size());
    for (const auto& [address, requestor] : table_)
        if (!requestor.empty()) all.push_back({requestor, address});
    return all;
}

}  // namespace sluice::mgmt
