#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <variant>

#include "base/check.hpp"
#include "normal_dif/core/mgmt/flow_allocator_actions.hpp"

namespace sluice::fuzz {

// What the flow allocator of one IPC process has asked for, held against the order in which it may
// ask: connections are bound once and unbound once, users are told once how their question ended,
// and hear nothing of a flow that is not theirs any more.
class FlowModel {
  public:
    enum class User : std::uint8_t { nobody, asking, requested, allocated, shut };

    // The user's calls, after they went well.
    void asked(PortId port) { user(port, User::nobody) = User::asking; }
    void refused(PortId port) {
        SLUICE_CHECK(user_of(port) == User::requested);
        users_.erase(port);
    }
    void deallocated(PortId port) {
        SLUICE_CHECK(user_of(port) != User::nobody);
        users_.erase(port);
    }

    template <typename Action>
    void take(const Action& action) {
        if constexpr (std::is_same_v<Action, mgmt::Bind>) {
            SLUICE_CHECK(ceps_.insert(action.cep.value).second);
            SLUICE_CHECK(bound_.emplace(action.port, Bound{action.cep, action.peer_cep}).second);
        } else if constexpr (std::is_same_v<Action, mgmt::SetPeer>) {
            Bound& bound = bound_of(action);
            SLUICE_CHECK(!bound.peer);
            bound.peer = action.peer_cep;
        } else if constexpr (std::is_same_v<Action, mgmt::Drain>) {
            SLUICE_CHECK(!std::exchange(bound_of(action).is_drained, true));
        } else if constexpr (std::is_same_v<Action, mgmt::Shut>) {
            SLUICE_CHECK(!std::exchange(bound_of(action).is_shut, true));
        } else if constexpr (std::is_same_v<Action, mgmt::Unbind>) {
            bound_of(action);
            bound_.erase(action.port);
            ceps_.erase(action.cep.value);
        } else if constexpr (std::is_same_v<Action, mgmt::FlowRequested>) {
            user(action.port, User::nobody) = User::requested;
            SLUICE_CHECK(!bound_.contains(action.port));
        } else if constexpr (std::is_same_v<Action, mgmt::FlowAllocated>) {
            const User before = user_of(action.port);
            SLUICE_CHECK(before == User::asking || before == User::requested);
            users_[action.port] = User::allocated;
            SLUICE_CHECK(bound_.contains(action.port) && bound_[action.port].peer);
        } else if constexpr (std::is_same_v<Action, mgmt::FlowFailed>) {
            const User before = user_of(action.port);
            SLUICE_CHECK(before == User::asking || before == User::requested);
            users_.erase(action.port);
            SLUICE_CHECK(!bound_.contains(action.port));
        } else if constexpr (std::is_same_v<Action, mgmt::FlowDeallocated>) {
            user(action.port, User::allocated) = User::shut;
            SLUICE_CHECK(bound_.contains(action.port));
        }
    }

    User user_of(PortId port) const {
        const auto at = users_.find(port);
        return at == users_.end() ? User::nobody : at->second;
    }
    // The n-th that is somebody's, round and round.
    std::optional<PortId> pick(std::size_t n) const {
        if (users_.empty()) return std::nullopt;
        auto at = users_.begin();
        std::advance(at, static_cast<long>(n % users_.size()));
        return at->first;
    }
    bool empty() const { return users_.empty() && bound_.empty() && ceps_.empty(); }
    std::size_t bound() const { return bound_.size(); }
    std::size_t users() const { return users_.size(); }

  private:
    struct Bound {
        rina::CepId cep{};
        std::optional<rina::CepId> peer;
        bool is_drained = false, is_shut = false;
    };

    // Must be `before`.
    User& user(PortId port, User before) {
        SLUICE_CHECK(user_of(port) == before);
        return users_[port];
    }
    template <typename Action>
    Bound& bound_of(const Action& action) {
        const auto at = bound_.find(action.port);
        SLUICE_CHECK(at != bound_.end() && at->second.cep == action.cep);
        return at->second;
    }

    std::map<PortId, Bound> bound_;
    std::set<std::uint32_t> ceps_;
    std::map<PortId, User> users_;
};

}  // namespace sluice::fuzz
