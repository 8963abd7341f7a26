#include "normal_dif/core/mgmt/neighbors.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

#include "rina/rlite_name.hpp"

namespace sluice::mgmt {

std::string node_name(const rina::NeighborCandidate& candidate) {
    return rina::rlite_name({candidate.process, candidate.instance, {}, {}});
}

namespace {

// As of sequence numbers (RFC 1982): newer is what lies less than half of all numbers ahead.
bool is_newer(std::uint64_t a, std::uint64_t b) noexcept {
    return a != b && a - b < (std::uint64_t{1} << 63);
}
// Two things under one number: one of them is a lie. All take the same, and if that is the lie, it
// gets to the neighbours of whom it is about, who hears of it from them.
bool is_rival(const rina::NeighborCandidate& a, const rina::NeighborCandidate& b) noexcept {
    return a.version == b.version &&
           std::tie(a.address.value, a.lower_difs) > std::tie(b.address.value, b.lower_difs);
}
std::uint32_t start_of(std::uint64_t version) noexcept {
    return static_cast<std::uint32_t>(version >> 32);
}
// Over the end of all numbers, where 0 is passed by: that says that there is none. Lies can bring
// us there, as we outnumber each.
std::uint64_t or_one(std::uint64_t version) noexcept { return version == 0 ? 1 : version; }

}  // namespace

NeighborTable::NeighborTable(std::string_view self, NeighborLimits limits, SharedValues* shared,
                             std::uint32_t start)
    : owned_(shared == nullptr ? std::make_unique<SharedValues>() : nullptr),
      shared_(shared == nullptr ? owned_.get() : shared),
      self_(self),
      limits_(limits) {
    own_.process = self_.substr(0, self_.find('|'));
    if (own_.process.size() < self_.size())
        own_.instance = self_.substr(own_.process.size() + 1);
    own_.version = std::uint64_t{start} << 32;
}

bool NeighborTable::is_valid(const Candidate& candidate) const {
    const auto is_dif_name = [](const std::string& name) { return is_node_name(name); };
    // rlite may put the whole name into the process.
    return is_node_name(candidate.process) && rina::is_name_part(candidate.instance) &&
           candidate.process.size() + candidate.instance.size() < rina::kNameBytesMax &&
           candidate.lower_difs.size() <= limits_.lower_difs_max &&
           std::all_of(candidate.lower_difs.begin(), candidate.lower_difs.end(), is_dif_name);
}

void NeighborTable::refuse(Refusal refusal, Changed& out) {
    out.refused.add(refusal);
    refused_.add(refusal);
}

bool NeighborTable::may_take(std::string_view sender, const Slot* slot, Changed& out) {
    if (slot != nullptr && slot->updates >= limits_.updates_per_entry_max) {
        refuse(Refusal::too_often, out);
        return false;
    }
    auto at = per_sender_.find(sender);
    if (at == per_sender_.end()) at = per_sender_.emplace(sender, 0).first;
    if (at->second >= limits_.updates_per_sender_max) {
        refuse(Refusal::sender_busy, out);
        return false;
    }
    ++at->second;
    return true;
}

NeighborTable::Changed NeighborTable::set_own(rina::Address address,
                                              std::vector<std::string> lower_difs) {
    Changed out;
    if (own_.address == address && own_.lower_difs == lower_difs) return out;
    own_.address = address;
    own_.lower_difs = std::move(lower_difs);
    if (own_.version != 0) own_.version = or_one(own_.version + 1);
    out.changed = true;
    out.create_all.push_back(own_);
    return out;
}

void NeighborTable::set_enrolled(std::string_view name, bool enrolled) {
    if (enrolled) {
        enrolled_.emplace(name);
    } else if (const auto at = enrolled_.find(name); at != enrolled_.end()) {
        enrolled_.erase(at);
    }
}

// Somebody believes something else of us, and tells others.
void NeighborTable::correct(std::uint64_t version, Changed& out) {
    ++out.contested;
    if (corrections_ >= limits_.corrections_max) return;
    ++corrections_;
    // From a life whose start had a greater number, or forged. That one must not stand.
    if (own_.version != 0 && version != 0 && !is_newer(own_.version, version))
        own_.version = or_one(start_of(version) == start_of(own_.version)
                                  ? version + 1
                                  : (std::uint64_t{start_of(version)} + 1) << 32);
    // The last of several in one message outnumbers them all.
    out.create_all.assign(1, own_);
}

void NeighborTable::take_create(Instant now, const Candidate& candidate, const std::string& name,
                                std::string_view sender, Changed& out) {
    const bool of_itself = name == sender;
    auto at = slots_.find(name);
    if (at != slots_.end() && *at->second.candidate == candidate) {
        ++out.known;
        return;
    }
    if (at == slots_.end()) {
        if (slots_.size() >= limits_.entries_max) return refuse(Refusal::table_full, out);
        if (!may_take(sender, nullptr, out)) return;
        InternedRef<NameTable> kept{shared_->names, shared_->names.acquire(name)};
        at = slots_.try_emplace(std::string_view(*kept)).first;
        at->second.name = std::move(kept);
    } else {
        Slot& slot = at->second;
        if (!is_news(now, slot, candidate, of_itself, is_enrolled(name))) {
            ++out.known;
            if (is_enrolled(name)) pass_on(slot, candidate, out);
            return;
        }
        if (!may_take(sender, &slot, out)) return;
    }
    replace(now, at->second, at->first, candidate, out);
}

void NeighborTable::pass_on(Slot& slot, const Candidate& candidate, Changed& out) {
    if (slot.candidate->version == 0 || candidate.version == 0 ||
        is_newer(slot.candidate->version, candidate.version) ||
        (slot.passed_on != 0 && !is_newer(candidate.version, slot.passed_on)))
        return;
    slot.passed_on = candidate.version;
    out.create.push_back(candidate);
}

bool NeighborTable::is_news(Instant now, const Slot& slot, const Candidate& candidate,
                            bool of_itself, bool enrolled) const {
    if (of_itself) return true;
    if (enrolled) return false;  // it would tell us itself
    const std::uint64_t known = slot.candidate->version;
    if (known != 0)
        // One without a number has been through somebody who knows none.
        return candidate.version != 0 && (is_newer(candidate.version, known) ||
                                          is_rival(candidate, *slot.candidate));
    return !slot.before || *slot.before != candidate || now - slot.since >= limits_.no_return;
}

void NeighborTable::replace(Instant now, Slot& slot, std::string_view name,
                            const Candidate& candidate, Changed& out) {
    if (slot.candidate) {
        const Candidate& old = *slot.candidate;
        const bool restarted = old.version != 0 && candidate.version != 0 &&
                               start_of(old.version) != start_of(candidate.version);
        if (restarted || old.address != candidate.address)
            out.moved.push_back({std::string(name), candidate.address, restarted});
        // Of its own kind no more: the number would stand against all that it says now.
        if (old.version != 0 && candidate.version == 0) out.remove.push_back(old);
        by_address_.erase({old.address, name});
        slot.before = std::move(slot.candidate);
    }
    ++slot.updates;
    slot.since = now;
    slot.candidate = keep(candidate);
    by_address_.emplace(candidate.address, name);
    out.changed = true;
    out.create.push_back(candidate);
}

void NeighborTable::take_remove(const Candidate& candidate, const std::string& name,
                                std::string_view sender, Changed& out) {
    const auto at = slots_.find(name);
    if (at == slots_.end()) {
        ++out.known;
        return;
    }
    // We see for ourselves that it is here, or it has come back since.
    if ((is_enrolled(name) && name != sender) ||
        (candidate.version != 0 && is_newer(at->second.candidate->version, candidate.version))) {
        ++out.known;
        return;
    }
    if (!may_take(sender, &at->second, out)) return;
    out.remove.push_back(*at->second.candidate);
    out.changed = true;
    by_address_.erase({at->second.candidate->address, at->first});
    slots_.erase(at);
}

NeighborTable::Changed NeighborTable::apply(Instant now, Action action,
                                            const rina::NeighborCandidateList& list,
                                            std::string_view sender) {
    Changed out;
    for (const Candidate& candidate : list.candidates) {
        if (!is_valid(candidate)) {
            refuse(Refusal::malformed, out);
            continue;
        }
        const std::string name = node_name(candidate);
        if (name == self_) {
            if (action == Action::remove || candidate != own_)
                correct(candidate.version, out);
            else
                ++out.known;
        } else if (action == Action::create) {
            take_create(now, candidate, name, sender, out);
        } else {
            take_remove(candidate, name, sender, out);
        }
    }
    return out;
}

NeighborTable::Changed NeighborTable::remove(std::string_view name) {
    Changed out;
    const auto at = slots_.find(name);
    if (at == slots_.end()) return out;
    out.remove_all.push_back(*at->second.candidate);
    out.changed = true;
    by_address_.erase({at->second.candidate->address, at->first});
    slots_.erase(at);
    return out;
}

NeighborTable::Changed NeighborTable::tick(Instant now) {
    Changed out;
    corrections_ = 0;
    per_sender_.clear();
    for (auto& [name, slot] : slots_) {
        slot.updates = 0;
        // What was passed on may have been lost, and is heard of when tables are compared.
        slot.passed_on = 0;
        if (slot.before && now - slot.since >= limits_.no_return) slot.before.reset();
    }
    if (now - refreshed_ >= limits_.refresh) {
        refreshed_ = now;
        out.create_all.push_back(own_);
    }
    return out;
}

std::vector<NeighborTable::Candidate> NeighborTable::snapshot() const {
    std::vector<Candidate> all;
    all.reserve(slots_.size() + 1);
    all.push_back(own_);
    for (const auto& [name, slot] : slots_) all.push_back(*slot.candidate);
    return all;
}

const NeighborTable::Candidate* NeighborTable::find(std::string_view name) const {
    if (name == self_) return &own_;
    const auto at = slots_.find(name);
    return at == slots_.end() ? nullptr : &*at->second.candidate;
}

std::optional<rina::Address> NeighborTable::address_of(std::string_view name) const {
    const Candidate* const found = find(name);
    if (found == nullptr || found->address == rina::Address{0}) return std::nullopt;
    return found->address;
}

std::optional<std::string_view> NeighborTable::name_of(rina::Address address) const {
    if (address == rina::Address{0}) return std::nullopt;
    std::optional<std::string_view> best;
    if (own_.address == address) best = self_;
    // The first behind it; behind the greatest address there is none.
    const rina::Address next{address.value + 1};
    auto at = next == rina::Address{0} ? by_address_.end() : by_address_.lower_bound({next, {}});
    if (at != by_address_.begin() && (--at)->first == address && (!best || at->second > *best))
        best = at->second;
    return best;
}

bool NeighborTable::is_of_another(rina::Address address) const {
    const auto at = by_address_.lower_bound({address, {}});
    return address != rina::Address{0} && at != by_address_.end() && at->first == address;
}

std::vector<NeighborTable::Enrollable> NeighborTable::enrollable() const {
    std::vector<Enrollable> all;
    for (const auto& [name, slot] : slots_) {
        if (is_enrolled(name)) continue;
        Enrollable one{name, {}};
        for (const std::string& dif : slot.candidate->lower_difs)
            if (std::find(own_.lower_difs.begin(), own_.lower_difs.end(), dif) !=
                own_.lower_difs.end())
                one.shared_difs.push_back(dif);
        if (!one.shared_difs.empty()) all.push_back(std::move(one));
    }
    return all;
}

}  // namespace sluice::mgmt
