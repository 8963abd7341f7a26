#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace sluice {

// An integer that does not mix with other integers: StrongId<struct LcoreTag, unsigned>.
template <typename Tag, typename Rep>
struct StrongId {
    using rep = Rep;
    Rep value{};

    constexpr StrongId() noexcept = default;
    constexpr explicit StrongId(Rep v) noexcept : value(v) {}
    constexpr auto operator<=>(const StrongId&) const noexcept = default;
};

// What a protocol core sees of a packet: an mbuf in the dataplane, an index in the simulation.
// Cores never look inside; each token is delivered, sent, held or dropped exactly once.
enum class PduToken : std::uintptr_t {};

using LcoreId = StrongId<struct LcoreTag, std::uint16_t>;
// Names a flow to its user, unique in one process ("port-id" of the RINA reference model).
using PortId = StrongId<struct PortIdTag, std::uint32_t>;

}  // namespace sluice

template <typename Tag, typename Rep>
struct std::hash<sluice::StrongId<Tag, Rep>> {
    std::size_t operator()(sluice::StrongId<Tag, Rep> id) const noexcept {
        return std::hash<Rep>{}(id.value);
    }
};
