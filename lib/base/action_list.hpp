#pragma once

#include <utility>
#include <vector>

namespace sluice {

// What a machine wants done, a variant each, in the order in which it must take effect. The caller
// carries out and clears; what has grown is kept for the next call.
template <typename Action>
struct ActionList {
    std::vector<Action> actions;

    template <typename T>
    void add(T action) {
        actions.emplace_back(std::move(action));
    }
    void clear() noexcept { actions.clear(); }
    bool empty() const noexcept { return actions.empty(); }
};

}  // namespace sluice
