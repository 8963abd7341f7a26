#pragma once

#include <cstddef>
#include <span>

// The machines of a normal DIF under whatever a network, its members and its users may do. The
// bytes are a story of messages, calls and time; a violation aborts. Each says whether it came to
// what it is about.

namespace sluice::fuzz {

// Two members that allocate flows with each other, and a third one that wants to do harm to them.
bool flow_allocator(std::span<const std::byte> bytes);
// Layer management as a whole: three IPC processes and what becomes of the messages between them.
// The first byte says how they are configured.
bool ipcp(std::span<const std::byte> bytes);
// Relay and connections of one IPC process, and PDUs of all kinds.
bool transfer(std::span<const std::byte> bytes);
// Two ends of a connection. The first bytes pick policies and widths, and whether the network only
// loses, repeats and reorders PDUs, or forges them too.
bool efcp(std::span<const std::byte> bytes);
// The first byte picks a policy; then frames that are sealed, changed, repeated, and opened.
bool sdu_protection(std::span<const std::byte> bytes);
// Delimiting: PDUs that a fragmenter makes, and PDUs that nobody would.
bool reassembler(std::span<const std::byte> bytes);

}  // namespace sluice::fuzz
