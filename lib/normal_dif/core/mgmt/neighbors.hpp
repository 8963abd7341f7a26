#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/instant.hpp"
#include "normal_dif/core/mgmt/changes.hpp"
#include "normal_dif/core/mgmt/interned.hpp"
#include "rina/objects.hpp"

// Who is in the DIF: the members' names, addresses and the DIFs below them, as they were told by
// flooding. Names become addresses here, and those that share a lower DIF with us can be enrolled
// with.
//
// Those of our own kind number what they say of themselves, and the newest counts: so everybody
// learns that a member has begun anew, wherever it is. rlite's entries have no numbers. Two
// versions of one, an old and a new, would chase each other round a loop of nodes for ever if each
// took what it hears for news. Hence: a neighbour's own word about itself stands against all
// others, and an entry does not go back to what it was just before.
namespace sluice::mgmt {

struct NeighborLimits {
    std::size_t entries_max = 65536;  // members, ourselves apart
    std::size_t lower_difs_max = 32;  // of one member
    // From one tick to the next:
    std::uint32_t updates_per_entry_max = 8;
    std::uint32_t updates_per_sender_max = 131072;
    std::uint32_t corrections_max = 8;  // of what others say of us
    Duration no_return = Duration::seconds(30);  // to what an entry was before
    Duration refresh = Duration::seconds(30);    // our own entry is told again so often
};

class NeighborTable {
  public:
    using Candidate = rina::NeighborCandidate;
    struct Changed : Changes<Candidate> {
        // Who has begun anew, or has another address, as it is now.
        struct Member {
            std::string name;
            rina::Address address{};
            bool restarted = false;
        };
        std::vector<Member> moved;
    };

    // Names are in rlite's form: "process|instance".
    // What is told of members is kept in `shared`, which others may use too and which must outlive
    // this, or if it is not given, in tables of its own.
    // `start`: greater than at each start of this IPC process before; 0: entries without numbers.
    explicit NeighborTable(std::string_view self, NeighborLimits limits = {},
                           SharedValues* shared = nullptr, std::uint32_t start = 0);
    NeighborTable(NeighborTable&&) = default;

    // What we say of ourselves; to be told to all when it changes.
    Changed set_own(rina::Address address, std::vector<std::string> lower_difs);
    const Candidate& own() const noexcept { return own_; }
    const std::string& self() const noexcept { return self_; }

    // Whether `name` is an enrolled neighbour. It need not be in the table.
    void set_enrolled(std::string_view name, bool enrolled);
    bool is_enrolled(std::string_view name) const { return enrolled_.contains(name); }

    Changed apply(Instant now, Action action, const rina::NeighborCandidateList& list,
                  std::string_view sender);
    // We know that it is gone, or an operator said so.
    Changed remove(std::string_view name);
    Changed tick(Instant now);

    // Everything that we know, ourselves first.
    std::vector<Candidate> snapshot() const;
    const Candidate* find(std::string_view name) const;
    // Ourselves included. None if the node is not known or has no address.
    std::optional<rina::Address> address_of(std::string_view name) const;
    // Ourselves included; the greatest name, since of two holders the other one is to change.
    std::optional<std::string_view> name_of(rina::Address address) const;
    bool is_taken(rina::Address address) const { return name_of(address).has_value(); }
    bool is_of_another(rina::Address address) const;

    struct Enrollable {
        std::string_view name;
        std::vector<std::string_view> shared_difs;
    };
    // Those that share a lower DIF with us and are not enrolled, in order of names.
    std::vector<Enrollable> enrollable() const;

    template <typename Visit>
    void for_each(Visit&& visit) const {
        for (const auto& [name, slot] : slots_) visit(name, *slot.candidate);
    }
    std::size_t size() const noexcept { return slots_.size(); }
    const NeighborLimits& limits() const noexcept { return limits_; }
    void set_limits(const NeighborLimits& limits) noexcept { limits_ = limits; }
    const RefusalCounts& refused() const noexcept { return refused_; }

  private:
    struct Slot {
        InternedRef<NameTable> name;
        InternedRef<CandidateTable> candidate;
        InternedRef<CandidateTable> before;  // until no_return after `since`
        Instant since{};
        std::uint64_t passed_on = 0;  // since the last tick, the newest that we did not believe
        std::uint32_t updates = 0;
    };
    using Slots = std::map<std::string_view, Slot>;  // of the slot's name

    bool is_valid(const Candidate& candidate) const;
    void refuse(Refusal refusal, Changed& out);
    bool may_take(std::string_view sender, const Slot* slot, Changed& out);
    void correct(std::uint64_t version, Changed& out);
    void replace(Instant now, Slot& slot, std::string_view name, const Candidate& candidate,
                 Changed& out);
    // Something of an enrolled neighbour that is no older than what it has told us: it is to hear
    // of that, and to outnumber it if it is not its own.
    void pass_on(Slot& slot, const Candidate& candidate, Changed& out);
    bool is_news(Instant now, const Slot& slot, const Candidate& candidate, bool of_itself,
                 bool enrolled) const;
    void take_create(Instant now, const Candidate& candidate, const std::string& name,
                     std::string_view sender, Changed& out);
    void take_remove(const Candidate& candidate, const std::string& name,
                     std::string_view sender, Changed& out);

    InternedRef<CandidateTable> keep(const Candidate& candidate) const {
        return {shared_->candidates, shared_->candidates.acquire(candidate)};
    }

    std::unique_ptr<SharedValues> owned_;  // unless they are somebody else's
    SharedValues* shared_;
    std::string self_;
    NeighborLimits limits_;
    Candidate own_;
    Slots slots_;
    // Of slots_. Ordered, for hostile members may all claim one address.
    std::set<std::pair<rina::Address, std::string_view>> by_address_;
    std::set<std::string, std::less<>> enrolled_;
    std::map<std::string, std::uint32_t, std::less<>> per_sender_;
    std::uint32_t corrections_ = 0;
    Instant refreshed_{};
    RefusalCounts refused_;
};

// "process|instance"
std::string node_name(const rina::NeighborCandidate& candidate);

}  // namespace sluice::mgmt
