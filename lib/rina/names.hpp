#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace sluice::rina {

// The longest name, in its full form, that a one-byte length can speak of.
inline constexpr std::size_t kNameBytesMax = 255;

// An application process name with its three optional parts:
// process, process instance, application entity, entity instance.
struct AppName {
    std::string process;
    std::string instance;
    std::string entity;
    std::string entity_instance;

    // Reads "process/instance/entity/entity-instance"; trailing parts may be left out, and '|' is
    // as good a separator as '/'. Control characters are refused: names reach terminals and logs.
    static Result<AppName> parse(std::string_view text);

    // For people: trailing empty parts left out.
    std::string to_string() const;
    // For the wire: always all four parts, "process///" if need be.
    std::string wire() const;

    bool operator==(const AppName&) const = default;
    auto operator<=>(const AppName&) const = default;
};

// Why a flow was refused, failed or ended (docs/vmpi.md, section 5). The numbers go on the wire.
enum class Reason : std::uint8_t {
    ok = 0,
    refused = 1,
    no_such_application = 2,
    busy = 3,
    bad_channel = 4,
    channel_in_use = 5,
    timed_out = 6,
    closed_by_peer = 7,
    closed_locally = 8,
    peer_restarted = 9,
    link_down = 10,
    peer_unresponsive = 11,
    version = 12,
    out_of_memory = 13,
    unregistered = 14,
};

inline constexpr std::size_t kReasonCount = 15;

std::string_view to_string(Reason reason) noexcept;

// A number from the wire; one that this version does not know becomes `fallback`.
constexpr Reason reason_from_wire(std::uint8_t number, Reason fallback) noexcept {
    return number < kReasonCount ? static_cast<Reason>(number) : fallback;
}

}  // namespace sluice::rina
