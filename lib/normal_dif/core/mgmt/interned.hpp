#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "rina/objects.hpp"

// Values that many tables of layer management hold, each kept once and named by a small number. In
// a DIF of n members each member has the names of all of them several times over; a process that
// runs many members may have them share one table. What nobody uses any more is forgotten, so that
// names which somebody made up do not stay.
namespace sluice::mgmt {

// Of names that neighbours chose: they do not know the seed, and cannot choose such as collide.
class SeededHash {
  public:
    explicit SeededHash(std::uint64_t seed) noexcept : seed_(seed) {}

    std::uint64_t operator()(std::string_view text) const noexcept {
        std::uint64_t h = mix(seed_ ^ text.size());
        for (; text.size() > 8; text.remove_prefix(8)) h = mix(h ^ word(text));
        return mix(h ^ word(text));
    }
    std::uint64_t operator()(const rina::NeighborCandidate& c) const noexcept {
        std::uint64_t h = mix((*this)(c.process) + 1) ^ (*this)(c.instance);
        h = mix(h ^ c.address.value);
        for (const std::string& dif : c.lower_difs) h = mix(h + (*this)(dif));
        return h;
    }
    std::uint64_t operator()(const rina::AppName& a) const noexcept {
        std::uint64_t h = mix((*this)(a.process) + 1) ^ (*this)(a.instance);
        h = mix(h) ^ (*this)(a.entity);
        return mix(h) ^ (*this)(a.entity_instance);
    }

  private:
    static std::uint64_t word(std::string_view text) noexcept {
        std::uint64_t w = 0;
        std::memcpy(&w, text.data(), text.size() < 8 ? text.size() : 8);
        return w;
    }
    std::uint64_t mix(std::uint64_t x) const noexcept {
        x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93;
        x = ((x + seed_) ^ (x >> 32)) * 0xd6e8feb86659fd93;
        return x ^ (x >> 32);
    }

    std::uint64_t seed_;
};

template <typename Value, typename View>
class Interned {
  public:
    using Id = std::uint32_t;

    explicit Interned(std::uint64_t seed) : ids_(0, Hash{this, SeededHash(seed)}, Equal{this}) {}
    Interned(const Interned&) = delete;  // ids_ refers to it
    Interned& operator=(const Interned&) = delete;

    std::optional<Id> find(View value) const {
        const auto at = ids_.find(value);
        return at == ids_.end() ? std::nullopt : std::optional(*at);
    }
    // Each call is to be matched by one of release().
    Id acquire(View value) {
        if (const auto at = ids_.find(value); at != ids_.end()) {
            ++entries_[*at].uses;
            return *at;
        }
        if (free_.empty()) {
            free_.push_back(static_cast<Id>(entries_.size()));
            entries_.emplace_back();
        }
        const Id id = free_.back();
        free_.pop_back();
        entries_[id] = {Value(value), 1};
        ids_.insert(id);
        return id;
    }
    void retain(Id id) { ++entries_[id].uses; }
    void release(Id id) {
        Entry& entry = entries_[id];
        if (--entry.uses > 0) return;
        ids_.erase(id);
        entry.value = Value();
        free_.push_back(id);
    }
    // Stays where it is while it is used.
    const Value& operator[](Id id) const { return entries_[id].value; }
    std::size_t size() const noexcept { return ids_.size(); }

  private:
    struct Entry {
        Value value{};
        std::uint32_t uses = 0;
    };
    struct Hash {
        using is_transparent = void;
        const Interned* table;
        SeededHash hash;
        std::size_t operator()(View value) const { return hash(value); }
        std::size_t operator()(Id id) const { return hash((*table)[id]); }
    };
    struct Equal {
        using is_transparent = void;
        const Interned* table;
        bool operator()(Id a, Id b) const { return a == b; }
        bool operator()(View a, Id b) const { return a == (*table)[b]; }
        bool operator()(Id a, View b) const { return (*table)[a] == b; }
    };

    std::deque<Entry> entries_;
    std::vector<Id> free_;
    std::unordered_set<Id, Hash, Equal> ids_;
};

using NameTable = Interned<std::string, std::string_view>;
using NameId = NameTable::Id;
using CandidateTable = Interned<rina::NeighborCandidate, const rina::NeighborCandidate&>;
using AppNameTable = Interned<rina::AppName, const rina::AppName&>;

// What the tables of one IPC process, or of several in one thread, have in common. It must outlive
// them.
struct SharedValues {
    explicit SharedValues(std::uint64_t seed = 0) : names(seed), candidates(seed) {}
    NameTable names;
    CandidateTable candidates;
};

// One use of a value.
template <typename Table>
class InternedRef {
  public:
    InternedRef() = default;
    InternedRef(Table& table, typename Table::Id id) : table_(&table), id_(id) {}
    InternedRef(InternedRef&& other) noexcept
        : table_(std::exchange(other.table_, nullptr)), id_(other.id_) {}
    InternedRef& operator=(InternedRef&& other) noexcept {
        std::swap(table_, other.table_);
        std::swap(id_, other.id_);
        return *this;
    }
    ~InternedRef() { reset(); }

    void reset() {
        if (table_ != nullptr) std::exchange(table_, nullptr)->release(id_);
    }
    explicit operator bool() const noexcept { return table_ != nullptr; }
    const auto& operator*() const { return (*table_)[id_]; }
    const auto* operator->() const { return &**this; }

  private:
    Table* table_ = nullptr;
    typename Table::Id id_ = 0;
};

}  // namespace sluice::mgmt
