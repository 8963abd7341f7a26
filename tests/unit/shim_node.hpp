#pragma once

#include <catch2/catch.hpp>
#include <variant>
#include <vector>

#include "base/instant.hpp"

namespace sluice::test {

// A shim with its link up and its time; of the shims that have an outbox.
template <typename Shim, typename Config, typename Outbox>
struct ShimNode {
    Outbox out;
    Shim shim;
    Instant now = Instant{1000};

    explicit ShimNode(const Config& config) : shim(config, out) { shim.set_link(now, true); }

    template <typename T>
    std::vector<T> taken() {
        std::vector<T> found;
        for (const auto& action : out.actions)
            if (const T* one = std::get_if<T>(&action)) found.push_back(*one);
        return found;
    }
    // The only action there is.
    template <typename T>
    T only() {
        REQUIRE(out.actions.size() == 1);
        REQUIRE(std::holds_alternative<T>(out.actions[0]));
        T one = std::get<T>(out.actions[0]);
        out.clear();
        return one;
    }
    // Lets time pass, with every timer on its way.
    void pass(Duration span) {
        const Instant until = now + span;
        while (shim.next_deadline() <= until) {
            now = shim.next_deadline();
            shim.on_timeout(now);
        }
        now = until;
        shim.on_timeout(now);
    }
};

}  // namespace sluice::test
