#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>

#include "normal_dif/core/efcp/policies.hpp"
#include "rina/pci.hpp"

// What many connections have in common, kept once: a node with a million flows has a handful of
// kinds of them. Not for use by several threads: connections that share a table are made and
// destroyed by its thread.
namespace sluice::efcp {

struct Profile {
    EfcpPolicies policies;
    rina::PciFormat format;

    bool operator==(const Profile&) const = default;
};

class ProfileTable;

// A share in a profile, which lives as long as any.
class ProfileRef {
  public:
    // One of its own, that is shared with copies of this alone.
    explicit ProfileRef(const Profile& profile);
    ProfileRef(const ProfileRef& o) noexcept : node_(o.node_) { ++node_->users; }
    ProfileRef(ProfileRef&& o) noexcept : node_(std::exchange(o.node_, nullptr)) {}
    ProfileRef& operator=(ProfileRef o) noexcept {
        std::swap(node_, o.node_);
        return *this;
    }
    ~ProfileRef() {
        if (node_ != nullptr && --node_->users == 0) release();
    }

    const Profile& operator*() const noexcept { return node_->profile; }
    const Profile* operator->() const noexcept { return &node_->profile; }

  private:
    friend class ProfileTable;
    struct Node {
        Profile profile;
        ProfileTable* table = nullptr;  // none, or it is gone
        std::size_t users = 0;
    };

    explicit ProfileRef(Node& node) noexcept : node_(&node) { ++node_->users; }
    void release() noexcept;

    Node* node_;
};

// Finds equal profiles. May go before the connections that use them.
class ProfileTable {
  public:
    ProfileTable() = default;
    ~ProfileTable();
    ProfileTable(const ProfileTable&) = delete;
    ProfileTable& operator=(const ProfileTable&) = delete;

    // Amortized O(1), whatever peers ask for.
    ProfileRef intern(const Profile& profile);
    std::size_t size() const noexcept { return nodes_.size(); }

  private:
    friend class ProfileRef;
    void forget(const ProfileRef::Node& node) noexcept;

    // By hash(): equal hashes are rare.
    std::unordered_multimap<std::uint64_t, ProfileRef::Node*> nodes_;
};

}  // namespace sluice::efcp
