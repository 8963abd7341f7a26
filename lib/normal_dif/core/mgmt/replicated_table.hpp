#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/instant.hpp"
#include "normal_dif/core/mgmt/changes.hpp"

// A table that every member of the DIF has a copy of, kept equal by flooding: each entry has one
// origin, which numbers its versions, and a greater number wins. The link states and the directory
// are such tables.
//
// A removal carries a number too and is remembered for a while. Without that, a copy of the entry
// that comes late on another path would bring it back (it does between rlite nodes). What a node
// ends up with then does not depend on the order in which messages reach it.
namespace sluice::mgmt {

inline constexpr Duration kManagementTick = Duration::seconds(10);  // as often wants tick() a call
inline constexpr Duration kForEver{Instant::never().ns / 4};

struct ReplicationTimes {
    Duration age_max = kForEver;     // entries of others that are not renewed are removed
    Duration renew_age = kForEver;   // own entries get the next number
    Duration refresh = Duration::seconds(30);  // own entries are told to the neighbours
    // Longer than a message takes through the DIF, and short: rlite numbers an entry from 1 again
    // when it comes back.
    Duration removal_memory = Duration::seconds(10);
};

struct ReplicationLimits {
    std::size_t entries_max = 131072;
    std::size_t entries_per_origin_max = 4096;
    std::size_t removals_max = 16384;  // that are remembered
    // Until the next tick:
    std::uint32_t updates_per_entry_max = 16;
    std::uint32_t updates_per_sender_max = 262144;  // twice a full table
    std::uint32_t corrections_max = 64;             // answers to claims about our own entries
    std::uint32_t corrections_per_entry_max = 4;
};

// Traits say what an entry is:
//   Object; Key, ordered; kSequenceMax; key(object); origin(key); sequence(object);
//   set_sequence(object, n); set_age(object, seconds); is_valid(object), and same(a, b): equal but
//   for number and age.
template <typename Traits>
class ReplicatedTable {
  public:
    using Object = typename Traits::Object;
    using Key = typename Traits::Key;
    using Changed = Changes<Object>;

    ReplicatedTable(std::string self, ReplicationTimes times, ReplicationLimits limits)
        : self_(std::move(self)), times_(times), limits_(limits) {}

    // Our own entry: it is there from now on, or is as given. Its number is seen to here.
    Changed announce(Instant now, Object object);
    Changed withdraw(Instant now, const Key& key);

    // What a neighbour sent.
    Changed apply(Instant now, Action action, std::span<const Object> objects,
                  std::string_view sender);
    // To be called every kManagementTick.
    Changed tick(Instant now);

    // Everything, for a neighbour that is new.
    std::vector<Object> snapshot(Instant now) const;
    std::vector<Object> own(Instant now) const;
    const Object* find(const Key& key) const;
    // In order of keys, from the first that is not less than `from`, until `visit` returns false.
    template <typename Visit>
    void visit_from(const Key& from, Visit&& visit) const;
    template <typename Visit>
    void for_each(Visit&& visit) const;

    const std::string& self() const noexcept { return self_; }
    std::size_t size() const noexcept { return live_; }
    std::size_t removals() const noexcept { return slots_.size() - live_; }
    const RefusalCounts& refused() const noexcept { return refused_; }

  private:
    struct Slot {
        Object object;
        Instant born{};  // of this version; of the removal
        std::uint32_t updates = 0, corrections = 0;  // since the last tick
        bool removed = false;
        bool unsaid = false;     // own: contested, and the answer waits for the next tick
        Instant silent_until{};  // own: told to nobody until then
    };
    using Slots = std::map<Key, Slot>;

    bool is_own(const Key& key) const { return Traits::origin(key) == self_; }
    Object shown(const Slot& slot, Instant now) const;
    bool may_take(const Key& key, std::string_view sender, const Slot* slot, Changed& out);
    bool has_room(const Key& key, std::size_t used, std::size_t limit, Changed& out);
    void refuse(Refusal refusal, Changed& out);
    typename Slots::iterator insert(const Key& key, const Object& object, Instant now);
    typename Slots::iterator erase(typename Slots::iterator at);
    void bury(typename Slots::iterator at, Instant now);

    void take_create(Instant now, const Object& object, std::string_view sender, Changed& out);
    void take_remove(Instant now, const Object& object, std::string_view sender, Changed& out);
    void hear_of_own(Instant now, Action action, const Object& object, Changed& out);
    void outnumber(Instant now, Slot& slot, std::uint64_t number, Changed& out);
    bool tick_own(Instant now, Slot& slot, bool refresh, Changed& out);

    std::string self_;
    ReplicationTimes times_;
    ReplicationLimits limits_;
    Slots slots_;
    std::size_t live_ = 0;
    std::map<std::string, std::size_t, std::less<>> per_origin_;  // slots
    std::map<std::string, std::uint32_t, std::less<>> per_sender_;  // updates
    std::uint32_t corrections_ = 0;
    // The greatest number of own entries that are not there any more: what comes back must go on.
    std::uint64_t own_number_ = 0;
    Instant refreshed_{};
    RefusalCounts refused_;
};

template <typename Traits>
auto ReplicatedTable<Traits>::shown(const Slot& slot, Instant now) const -> Object {
    Object object = slot.object;
    // In steps, as rlite counts it.
    const std::int64_t ticks = (now - slot.born).ns / kManagementTick.ns;
    Traits::set_age(object, static_cast<std::uint32_t>(
                                ticks * kManagementTick.ns / Duration::seconds(1).ns));
    return object;
}

template <typename Traits>
void ReplicatedTable<Traits>::refuse(Refusal refusal, Changed& out) {
    out.refused.add(refusal);
    refused_.add(refusal);
}

template <typename Traits>
bool ReplicatedTable<Traits>::may_take(const Key& key, std::string_view sender, const Slot* slot,
                                       Changed& out) {
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
    if (slot == nullptr) {
        const auto origin = per_origin_.find(Traits::origin(key));
        if (origin != per_origin_.end() && origin->second >= limits_.entries_per_origin_max) {
            refuse(Refusal::origin_full, out);
            return false;
        }
    }
    ++at->second;
    return true;
}

template <typename Traits>
auto ReplicatedTable<Traits>::insert(const Key& key, const Object& object, Instant now) ->
    typename Slots::iterator {
    const auto at = slots_.try_emplace(key).first;
    at->second.object = object;
    at->second.born = now;
    ++live_;
    ++per_origin_[std::string(Traits::origin(key))];
    return at;
}

template <typename Traits>
auto ReplicatedTable<Traits>::erase(typename Slots::iterator at) -> typename Slots::iterator {
    if (!at->second.removed) --live_;
    const auto origin = per_origin_.find(Traits::origin(at->first));
    if (--origin->second == 0) per_origin_.erase(origin);
    return slots_.erase(at);
}

// Keeps no more of it than that it was removed, if that.
template <typename Traits>
void ReplicatedTable<Traits>::bury(typename Slots::iterator at, Instant now) {
    Slot& slot = at->second;
    if (is_own(at->first)) own_number_ = std::max(own_number_, Traits::sequence(slot.object));
    if (removals() >= limits_.removals_max) {
        erase(at);
        return;
    }
    slot.removed = true;
    slot.unsaid = false;
    slot.silent_until = Instant::zero();
    slot.born = now;
    --live_;
}

// ---- our own entries ---------------------------------------------------------------------------

template <typename Traits>
auto ReplicatedTable<Traits>::announce(Instant now, Object object) -> Changed {
    Changed out;
    const Key key = Traits::key(object);
    auto at = slots_.find(key);
    std::uint64_t number = own_number_;
    if (at != slots_.end()) {
        if (!at->second.removed && Traits::same(at->second.object, object)) return out;
        number = std::max(number, Traits::sequence(at->second.object));
        erase(at);
    }
    Traits::set_sequence(object, number);
    at = insert(key, object, now);
    out.changed = true;
    outnumber(now, at->second, number, out);
    return out;
}

template <typename Traits>
auto ReplicatedTable<Traits>::withdraw(Instant now, const Key& key) -> Changed {
    Changed out;
    const auto at = slots_.find(key);
    if (at == slots_.end() || at->second.removed) return out;
    Slot& slot = at->second;
    const std::uint64_t number = Traits::sequence(slot.object);
    Traits::set_sequence(slot.object, number < Traits::kSequenceMax ? number + 1 : number);
    out.remove_all.push_back(shown(slot, now));
    out.changed = true;
    bury(at, now);
    return out;
}

// Says an own entry with a number above `number`. There is none above the last: then everybody has
// to forget the entry first (as RFC 2328, 12.1.6, has it), and it begins anew.
template <typename Traits>
void ReplicatedTable<Traits>::outnumber(Instant now, Slot& slot, std::uint64_t number,
                                        Changed& out) {
    slot.born = now;
    slot.unsaid = false;
    if (number >= Traits::kSequenceMax) {
        Traits::set_sequence(slot.object, Traits::kSequenceMax);
        out.remove_all.push_back(shown(slot, now));
        slot.silent_until = now + times_.removal_memory + kManagementTick * 2;
        Traits::set_sequence(slot.object, 0);
        own_number_ = 0;
        return;
    }
    Traits::set_sequence(slot.object, number + 1);
    out.create_all.push_back(shown(slot, now));
}

// Others speak of our entries after a restart of ours, after they lost sight of us, or to do harm.
template <typename Traits>
void ReplicatedTable<Traits>::hear_of_own(Instant now, Action action, const Object& object,
                                          Changed& out) {
    const auto at = slots_.find(Traits::key(object));
    const std::uint64_t number = Traits::sequence(object);
    const bool exists = at != slots_.end() && !at->second.removed;
    if (!exists || now < at->second.silent_until) {
        if (action == Action::remove) {
            ++out.known;
            return;
        }
        refuse(Refusal::about_us, out);
        // From before a restart of ours, it may come back to be so, and then must be newer. What
        // is far beyond any honest number shall not bring us near the last one.
        if (number < Traits::kSequenceMax / 2) own_number_ = std::max(own_number_, number);
        if (corrections_ >= limits_.corrections_max) return;
        ++corrections_;
        out.remove_all.push_back(object);
        return;
    }
    Slot& slot = at->second;
    const std::uint64_t ours = Traits::sequence(slot.object);
    const bool any_number = action == Action::remove && number == 0;
    if (!any_number && (number < ours || (number == ours && action == Action::create &&
                                          Traits::same(slot.object, object)))) {
        ++out.known;
        return;
    }
    ++out.contested;
    if (corrections_ >= limits_.corrections_max ||
        slot.corrections >= limits_.corrections_per_entry_max) {
        Traits::set_sequence(slot.object, std::max(number, ours));
        slot.unsaid = true;
        return;
    }
    ++corrections_;
    ++slot.corrections;
    outnumber(now, slot, std::max(number, ours), out);
}

// ---- entries of others -------------------------------------------------------------------------

template <typename Traits>
void ReplicatedTable<Traits>::take_create(Instant now, const Object& object,
                                          std::string_view sender, Changed& out) {
    const Key key = Traits::key(object);
    auto at = slots_.find(key);
    Slot* slot = at != slots_.end() ? &at->second : nullptr;
    if (slot != nullptr && Traits::sequence(object) <= Traits::sequence(slot->object)) {
        ++out.known;
        return;
    }
    if ((slot == nullptr || slot->removed) && live_ >= limits_.entries_max) {
        refuse(Refusal::table_full, out);
        return;
    }
    if (!may_take(key, sender, slot, out)) return;
    if (slot == nullptr) {
        at = insert(key, object, now);
        out.changed = true;
    } else {
        out.changed = out.changed || slot->removed || !Traits::same(slot->object, object);
        if (slot->removed) ++live_;
        slot->removed = false;
        slot->object = object;
        slot->born = now;
    }
    ++at->second.updates;
    out.create.push_back(shown(at->second, now));
}

template <typename Traits>
void ReplicatedTable<Traits>::take_remove(Instant now, const Object& object,
                                          std::string_view sender, Changed& out) {
    const Key key = Traits::key(object);
    auto at = slots_.find(key);
    const std::uint64_t number = Traits::sequence(object);
    if (at == slots_.end()) {
        // The entry itself may be on its way still.
        if (number == 0) {
            ++out.known;
            return;
        }
        if (removals() >= limits_.removals_max) {
            refuse(Refusal::table_full, out);
            return;
        }
        if (!may_take(key, sender, nullptr, out)) return;
        at = insert(key, object, now);
        bury(at, now);
        out.remove.push_back(object);
        return;
    }
    Slot& slot = at->second;
    const std::uint64_t ours = Traits::sequence(slot.object);
    // No number means: whichever it has.
    const bool news = slot.removed ? number > ours : number == 0 || number >= ours;
    if (!news) {
        ++out.known;
        return;
    }
    if (!may_take(key, sender, &slot, out)) return;
    ++slot.updates;
    Traits::set_sequence(slot.object, std::max(number, ours));
    out.remove.push_back(shown(slot, now));
    if (slot.removed) {
        slot.born = now;
        return;
    }
    out.changed = true;
    bury(at, now);
}

template <typename Traits>
auto ReplicatedTable<Traits>::apply(Instant now, Action action, std::span<const Object> objects,
                                    std::string_view sender) -> Changed {
    Changed out;
    for (const Object& object : objects) {
        if (!Traits::is_valid(object))
            refuse(Refusal::malformed, out);
        else if (is_own(Traits::key(object)))
            hear_of_own(now, action, object, out);
        else if (action == Action::create)
            take_create(now, object, sender, out);
        else
            take_remove(now, object, sender, out);
    }
    return out;
}

// ---- time --------------------------------------------------------------------------------------

// True if it was said.
template <typename Traits>
bool ReplicatedTable<Traits>::tick_own(Instant now, Slot& slot, bool refresh, Changed& out) {
    if (now < slot.silent_until) return false;
    const bool was_silent = slot.silent_until > Instant::zero();
    slot.silent_until = Instant::zero();
    if (was_silent || slot.unsaid || now - slot.born >= times_.renew_age) {
        outnumber(now, slot, Traits::sequence(slot.object), out);
        return true;
    }
    if (refresh) out.create_all.push_back(shown(slot, now));
    return refresh;
}

template <typename Traits>
auto ReplicatedTable<Traits>::tick(Instant now) -> Changed {
    Changed out;
    corrections_ = 0;
    per_sender_.clear();
    const bool refresh = now - refreshed_ >= times_.refresh;
    if (refresh) refreshed_ = now;
    for (auto at = slots_.begin(); at != slots_.end();) {
        Slot& slot = at->second;
        slot.updates = slot.corrections = 0;
        const Duration age = now - slot.born;
        if (slot.removed) {
            at = age >= times_.removal_memory ? erase(at) : std::next(at);
            continue;
        }
        const auto here = at++;
        if (is_own(here->first)) {
            tick_own(now, slot, refresh, out);
        } else if (age > times_.age_max) {
            out.remove_all.push_back(shown(slot, now));
            out.changed = true;
            bury(here, now);
        }
    }
    return out;
}

// ---- reading -----------------------------------------------------------------------------------

template <typename Traits>
auto ReplicatedTable<Traits>::snapshot(Instant now) const -> std::vector<Object> {
    std::vector<Object> all;
    all.reserve(live_);
    for (const auto& [key, slot] : slots_)
        if (!slot.removed && now >= slot.silent_until) all.push_back(shown(slot, now));
    return all;
}

template <typename Traits>
auto ReplicatedTable<Traits>::own(Instant now) const -> std::vector<Object> {
    std::vector<Object> all;
    for (const auto& [key, slot] : slots_)
        if (!slot.removed && is_own(key)) all.push_back(shown(slot, now));
    return all;
}

template <typename Traits>
auto ReplicatedTable<Traits>::find(const Key& key) const -> const Object* {
    const auto at = slots_.find(key);
    return at == slots_.end() || at->second.removed ? nullptr : &at->second.object;
}

template <typename Traits>
template <typename Visit>
void ReplicatedTable<Traits>::visit_from(const Key& from, Visit&& visit) const {
    for (auto at = slots_.lower_bound(from); at != slots_.end(); ++at)
        if (!at->second.removed && !visit(at->second.object)) return;
}

template <typename Traits>
template <typename Visit>
void ReplicatedTable<Traits>::for_each(Visit&& visit) const {
    for (const auto& [key, slot] : slots_)
        if (!slot.removed) visit(slot.object);
}

}  // namespace sluice::mgmt
