#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

// Deliberate faults, to prove that the simulation's checkers can see them. Each brings back one
// weakness of the older shim. Only the second build of this library, the one that the simulation
// links, has the switch; in the product `faulty()` is the constant false and costs nothing.

namespace sluice::shim_hv {

enum class Fault : std::uint8_t {
    none,
    lowest_free_numbering,            // both ends choose from the same lowest-free numbering
    no_transaction_id_no_generation,  // late messages hit the next user of a channel
    no_timeout_no_reset,              // nothing times out, a restarted peer is not noticed
    unchecked_peer_input,             // channels are used as indexes unchecked
    host_byte_order,                  // integers go out as the host has them
    late_size_failure,                // long SDUs are refused by the ring, not by submit()
    no_backpressure,                  // the sender does not look at its credit
    leak_on_drop,                     // a dropped frame's buffer is not given back to the ring
    no_policing,                      // a peer may use what it was not granted
    unregistered_names,               // any name known to the system is reachable
};
inline constexpr std::size_t kFaultCount = 11;

constexpr std::string_view to_string(Fault fault) noexcept {
    constexpr std::string_view kNames[kFaultCount] = {"none",
                                                      "lowest_free_numbering",
                                                      "no_transaction_id_no_generation",
                                                      "no_timeout_no_reset",
                                                      "unchecked_peer_input",
                                                      "host_byte_order",
                                                      "late_size_failure",
                                                      "no_backpressure",
                                                      "leak_on_drop",
                                                      "no_policing",
                                                      "unregistered_names"};
    return kNames[static_cast<std::size_t>(fault)];
}

#ifdef SLUICE_FAULT_INJECTION
inline Fault active_fault = Fault::none;
// With host_byte_order: whether the node that runs now plays a big-endian host.
inline bool host_is_big_endian = false;
inline bool faulty(Fault fault) noexcept { return active_fault == fault; }
#else
inline constexpr bool host_is_big_endian = false;
constexpr bool faulty(Fault) noexcept { return false; }
#endif

}  // namespace sluice::shim_hv
