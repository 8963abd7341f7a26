#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/instant.hpp"
#include "normal_dif/core/faults.hpp"
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

// What the table notes of an entry besides what it says.
struct SlotState {
    Instant born{};  // of this version; of the removal
    std::uint16_t updates = 0, corrections = 0;  // since the last tick
    bool removed : 1 = false;
    bool unsaid : 1 = false;  // own: contested, and the answer waits for the next tick
    bool silent : 1 = false;  // own: since `born` told to nobody, until all have forgotten it
};

// Entries as they come, in the order of their keys.
template <typename Traits>
class MapStore {
  public:
    using Object = typename Traits::Object;
    using Key = typename Traits::Key;
    struct Slot : SlotState {
        Object value;
    };

    explicit MapStore(std::string_view self) : self_(self) {}

    // By key.
    Slot* find(const Object& like) {
        const auto at = slots_.find(Traits::key(like));
        return at == slots_.end() ? nullptr : &at->second;
    }
    const Slot* find(const Object& like) const {
        return const_cast<MapStore*>(this)->find(like);
    }
    Slot& insert(const Object& object) {
        ++per_origin_[std::string(Traits::origin(object))];
        Slot& slot = slots_[Traits::key(object)];
        slot.value = object;
        return slot;
    }
    void erase(Slot& slot) { erase(slots_.find(Traits::key(slot.value))); }
    std::size_t size() const noexcept { return slots_.size(); }
    std::size_t of_origin(const Object& like) const {
        const auto at = per_origin_.find(Traits::origin(like));
        return at == per_origin_.end() ? 0 : at->second;
    }

    Object object(const Slot& slot) const { return slot.value; }
    void assign(Slot& slot, const Object& object) { slot.value = object; }
    bool same(const Slot& slot, const Object& object) const {
        return Traits::same(slot.value, object);
    }
    bool is_own(const Slot& slot) const { return Traits::origin(slot.value) == self_; }
    static std::uint64_t sequence(const Slot& slot) { return Traits::sequence(slot.value); }
    static void set_sequence(Slot& slot, std::uint64_t number) {
        Traits::set_sequence(slot.value, number);
    }

    // Those for which `is_over` returns true are taken out.
    template <typename IsOver>
    void sweep(IsOver&& is_over) {
        for (auto at = slots_.begin(); at != slots_.end();)
            at = is_over(at->second) ? erase(at) : std::next(at);
    }
    template <typename Visit>
    void for_each(Visit&& visit) const {
        for (const auto& [key, slot] : slots_) visit(slot);
    }
    template <typename Visit>
    void for_each_own(Visit&& visit) const {
        for (const auto& [key, slot] : slots_)
            if (is_own(slot)) visit(slot);
    }
    // From the first that is not less than `from`, until `visit` returns false.
    template <typename Visit>
    void visit_from(const Key& from, Visit&& visit) const {
        for (auto at = slots_.lower_bound(from); at != slots_.end() && visit(at->second); ++at) {
        }
    }

  private:
    using Slots = std::map<Key, Slot>;
    typename Slots::iterator erase(typename Slots::iterator at) {
        const auto origin = per_origin_.find(Traits::origin(at->second.value));
        if (--origin->second == 0) per_origin_.erase(origin);
        return slots_.erase(at);
    }

    std::string self_;
    Slots slots_;
    std::map<std::string, std::size_t, std::less<>> per_origin_;
};

// Traits say what an entry is:
//   Object; kSequenceMax; origin(object); sequence(object); set_sequence(object, n);
//   set_age(object, seconds); is_valid(object); and
//   Store: how entries are kept, such as MapStore, which wants to know Key, ordered, key(object),
//   and same(a, b): equal but for number and age, too.
template <typename Traits>
class ReplicatedTable {
  public:
    using Object = typename Traits::Object;
    using Store = typename Traits::Store;
    using Slot = typename Store::Slot;
    using Changed = Changes<Object>;

    template <typename... StoreArgs>
    ReplicatedTable(std::string self, ReplicationTimes times, ReplicationLimits limits,
                    StoreArgs&&... store_args)
        : self_(std::move(self)),
          times_(times),
          limits_(limits),
          store_(self_, std::forward<StoreArgs>(store_args)...) {}

    // Our own entry: it is there from now on, or is as given. Its number is seen to here.
    Changed announce(Instant now, Object object);
    Changed withdraw(Instant now, const Object& like);  // of that key

    // What a neighbour sent.
    Changed apply(Instant now, Action action, std::span<const Object> objects,
                  std::string_view sender);
    // To be called every kManagementTick.
    Changed tick(Instant now);

    // Everything, for a neighbour that is new.
    std::vector<Object> snapshot(Instant now) const;
    std::vector<Object> own(Instant now) const;
    std::optional<Object> find(const Object& like) const;
    bool contains(const Object& like) const {
        const Slot* const slot = store_.find(like);
        return slot != nullptr && !slot->removed;
    }
    template <typename Visit>
    void for_each(Visit&& visit) const;
    // To go through the slots: for those who know how they are kept. Removed ones are among them.
    const Store& store() const noexcept { return store_; }

    // Entries are judged by their age at the next tick.
    const ReplicationTimes& times() const noexcept { return times_; }
    void set_times(const ReplicationTimes& times) noexcept { times_ = times; }

    const std::string& self() const noexcept { return self_; }
    std::size_t size() const noexcept { return live_; }
    std::size_t removals() const noexcept { return store_.size() - live_; }
    const RefusalCounts& refused() const noexcept { return refused_; }

  private:
    bool is_own(const Object& object) const { return Traits::origin(object) == self_; }
    bool is_silent(const Slot& slot, Instant now) const {
        return slot.silent && now < slot.born + times_.removal_memory + kManagementTick * 2;
    }
    Object shown(const Slot& slot, Instant now) const;
    bool may_take(const Object& object, std::string_view sender, const Slot* slot, Changed& out);
    void refuse(Refusal refusal, Changed& out);
    Slot& insert(const Object& object, Instant now);
    void erase(Slot& slot);
    bool bury(Slot& slot, Instant now);
    static void count(std::uint16_t& counter) {
        if (counter < std::numeric_limits<std::uint16_t>::max()) ++counter;
    }

    void take_create(Instant now, const Object& object, std::string_view sender, Changed& out);
    void take_remove(Instant now, const Object& object, std::string_view sender, Changed& out);
    void hear_of_own(Instant now, Action action, const Object& object, Changed& out);
    void outnumber(Instant now, Slot& slot, std::uint64_t number, Changed& out);
    bool tick_own(Instant now, Slot& slot, bool refresh, Changed& out);

    std::string self_;
    ReplicationTimes times_;
    ReplicationLimits limits_;
    Store store_;
    std::size_t live_ = 0;
    std::map<std::string, std::uint32_t, std::less<>> per_sender_;  // updates
    std::uint32_t corrections_ = 0;
    // The greatest number of own entries that are not there any more: what comes back must go on.
    std::uint64_t own_number_ = 0;
    Instant refreshed_{};
    RefusalCounts refused_;
};

template <typename Traits>
auto ReplicatedTable<Traits>::shown(const Slot& slot, Instant now) const -> Object {
    Object object = store_.object(slot);
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
bool ReplicatedTable<Traits>::may_take(const Object& object, std::string_view sender,
                                       const Slot* slot, Changed& out) {
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
    if (slot == nullptr && store_.of_origin(object) >= limits_.entries_per_origin_max) {
        refuse(Refusal::origin_full, out);
        return false;
    }
    ++at->second;
    return true;
}

template <typename Traits>
auto ReplicatedTable<Traits>::insert(const Object& object, Instant now) -> Slot& {
    Slot& slot = store_.insert(object);
    slot.born = now;
    ++live_;
    return slot;
}

template <typename Traits>
void ReplicatedTable<Traits>::erase(Slot& slot) {
    if (!slot.removed) --live_;
    store_.erase(slot);
}

// Keeps no more of it than that it was removed, if that: false says that there is no room, and the
// slot has to go.
template <typename Traits>
bool ReplicatedTable<Traits>::bury(Slot& slot, Instant now) {
    if (store_.is_own(slot)) own_number_ = std::max(own_number_, Store::sequence(slot));
    const bool room = removals() < limits_.removals_max;
    slot.removed = true;
    slot.unsaid = false;
    slot.silent = false;
    slot.born = now;
    --live_;
    return room;
}

// ---- our own entries ---------------------------------------------------------------------------

template <typename Traits>
auto ReplicatedTable<Traits>::announce(Instant now, Object object) -> Changed {
    Changed out;
    std::uint64_t number = own_number_;
    if (Slot* const slot = store_.find(object); slot != nullptr) {
        if (!slot->removed && store_.same(*slot, object)) return out;
        number = std::max(number, Store::sequence(*slot));
        erase(*slot);
    }
    Traits::set_sequence(object, number);
    out.changed = true;
    outnumber(now, insert(object, now), number, out);
    return out;
}

template <typename Traits>
auto ReplicatedTable<Traits>::withdraw(Instant now, const Object& like) -> Changed {
    Changed out;
    Slot* const slot = store_.find(like);
    if (slot == nullptr || slot->removed) return out;
    const std::uint64_t number = Store::sequence(*slot);
    Store::set_sequence(*slot, number < Traits::kSequenceMax ? number + 1 : number);
    out.remove_all.push_back(shown(*slot, now));
    out.changed = true;
    if (!bury(*slot, now)) erase(*slot);
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
        Store::set_sequence(slot, Traits::kSequenceMax);
        out.remove_all.push_back(shown(slot, now));
        slot.silent = true;
        Store::set_sequence(slot, 0);
        own_number_ = 0;
        return;
    }
    Store::set_sequence(slot, number + 1);
    out.create_all.push_back(shown(slot, now));
}

// Others speak of our entries after a restart of ours, after they lost sight of us, or to do harm.
template <typename Traits>
void ReplicatedTable<Traits>::hear_of_own(Instant now, Action action, const Object& object,
                                          Changed& out) {
    if (faults::is_active(faults::Fault::lies_not_corrected)) return;
    Slot* const found = store_.find(object);
    const std::uint64_t number = Traits::sequence(object);
    if (found == nullptr || found->removed || is_silent(*found, now)) {
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
    Slot& slot = *found;
    const std::uint64_t ours = Store::sequence(slot);
    const bool any_number = action == Action::remove && number == 0;
    if (!any_number && (number < ours || (number == ours && action == Action::create &&
                                          store_.same(slot, object)))) {
        ++out.known;
        return;
    }
    ++out.contested;
    if (corrections_ >= limits_.corrections_max ||
        slot.corrections >= limits_.corrections_per_entry_max) {
        Store::set_sequence(slot, std::max(number, ours));
        slot.unsaid = true;
        return;
    }
    ++corrections_;
    count(slot.corrections);
    outnumber(now, slot, std::max(number, ours), out);
}

// ---- entries of others -------------------------------------------------------------------------

template <typename Traits>
void ReplicatedTable<Traits>::take_create(Instant now, const Object& object,
                                          std::string_view sender, Changed& out) {
    Slot* slot = store_.find(object);
    if (slot != nullptr && Traits::sequence(object) <= Store::sequence(*slot)) {
        ++out.known;
        return;
    }
    if ((slot == nullptr || slot->removed) && live_ >= limits_.entries_max) {
        refuse(Refusal::table_full, out);
        return;
    }
    if (!may_take(object, sender, slot, out)) return;
    if (slot == nullptr) {
        slot = &insert(object, now);
        out.changed = true;
    } else {
        out.changed = out.changed || slot->removed || !store_.same(*slot, object);
        if (slot->removed) ++live_;
        slot->removed = false;
        store_.assign(*slot, object);
        slot->born = now;
    }
    count(slot->updates);
    out.create.push_back(shown(*slot, now));
}

template <typename Traits>
void ReplicatedTable<Traits>::take_remove(Instant now, const Object& object,
                                          std::string_view sender, Changed& out) {
    Slot* const slot = store_.find(object);
    const std::uint64_t number = Traits::sequence(object);
    if (slot == nullptr) {
        // The entry itself may be on its way still.
        if (number == 0) {
            ++out.known;
            return;
        }
        if (removals() >= limits_.removals_max) {
            refuse(Refusal::table_full, out);
            return;
        }
        if (!may_take(object, sender, nullptr, out)) return;
        bury(insert(object, now), now);
        out.remove.push_back(object);
        return;
    }
    const std::uint64_t ours = Store::sequence(*slot);
    // No number means: whichever it has.
    const bool news = slot->removed ? number > ours : number == 0 || number >= ours;
    if (!news) {
        ++out.known;
        return;
    }
    if (!may_take(object, sender, slot, out)) return;
    count(slot->updates);
    Store::set_sequence(*slot, std::max(number, ours));
    out.remove.push_back(shown(*slot, now));
    if (slot->removed) {
        slot->born = now;
        return;
    }
    out.changed = true;
    if (!bury(*slot, now)) erase(*slot);
}

template <typename Traits>
auto ReplicatedTable<Traits>::apply(Instant now, Action action, std::span<const Object> objects,
                                    std::string_view sender) -> Changed {
    Changed out;
    for (const Object& object : objects) {
        if (!Traits::is_valid(object))
            refuse(Refusal::malformed, out);
        else if (is_own(object))
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
    if (is_silent(slot, now)) return false;
    const bool was_silent = slot.silent;
    slot.silent = false;
    if (was_silent || slot.unsaid || now - slot.born >= times_.renew_age) {
        outnumber(now, slot, Store::sequence(slot), out);
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
    store_.sweep([&](Slot& slot) {
        slot.updates = slot.corrections = 0;
        const Duration age = now - slot.born;
        if (slot.removed) return age >= times_.removal_memory;
        if (store_.is_own(slot)) {
            tick_own(now, slot, refresh, out);
        } else if (age > times_.age_max && !faults::is_active(faults::Fault::no_ageing)) {
            out.remove_all.push_back(shown(slot, now));
            out.changed = true;
            return !bury(slot, now);
        }
        return false;
    });
    return out;
}

// ---- reading -----------------------------------------------------------------------------------

template <typename Traits>
auto ReplicatedTable<Traits>::snapshot(Instant now) const -> std::vector<Object> {
    std::vector<Object> all;
    all.reserve(live_);
    store_.for_each([&](const Slot& slot) {
        if (!slot.removed && !is_silent(slot, now)) all.push_back(shown(slot, now));
    });
    return all;
}

template <typename Traits>
auto ReplicatedTable<Traits>::own(Instant now) const -> std::vector<Object> {
    std::vector<Object> all;
    store_.for_each_own([&](const Slot& slot) {
        if (!slot.removed) all.push_back(shown(slot, now));
    });
    return all;
}

template <typename Traits>
auto ReplicatedTable<Traits>::find(const Object& like) const -> std::optional<Object> {
    const Slot* const slot = store_.find(like);
    if (slot == nullptr || slot->removed) return std::nullopt;
    return store_.object(*slot);
}

template <typename Traits>
template <typename Visit>
void ReplicatedTable<Traits>::for_each(Visit&& visit) const {
    store_.for_each([&](const Slot& slot) {
        if (!slot.removed) visit(store_.object(slot));
    });
}

}  // namespace sluice::mgmt
