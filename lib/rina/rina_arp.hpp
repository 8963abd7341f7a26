#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

// RINA over ARP, as rlite's Ethernet shim speaks it (kernel/shim-eth.c there): ARP (RFC 826) whose
// protocol addresses are names, in rlite's form and padded with zeros to the longer of the two.
//
//   0  2  hardware type, 1                    14           plen  sender name
//   2  2  protocol type, 0xd1f0               14 + plen    6     target MAC, zero in requests
//   4  1  hlen, 6                             20 + plen    plen  target name
//   5  1  plen
//   6  2  operation                           All numbers big-endian.
//   8  6  sender MAC
namespace sluice::rina {

inline constexpr std::uint16_t kEtherTypeArp = 0x0806;
// Of the frames of a normal DIF over Ethernet, and the protocol type within RINA-ARP.
inline constexpr std::uint16_t kEtherTypeRina = 0xd1f0;

using MacAddress = std::array<std::uint8_t, 6>;
inline constexpr MacAddress kBroadcastMac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

struct RinaArp {
    enum class Operation : std::uint16_t { request = 1, reply = 2 };

    Operation operation = Operation::request;
    MacAddress sender_mac{};
    std::string_view sender;  // into the bytes that were parsed
    MacAddress target_mac{};
    std::string_view target;

    bool operator==(const RinaArp&) const = default;
};

inline constexpr std::size_t kRinaArpNameBytesMax = 255;
inline constexpr std::size_t kRinaArpBytesMax = 20 + 2 * kRinaArpNameBytesMax;

enum class ArpError : std::uint8_t {
    none,
    truncated,       // shorter than it says
    other_protocol,  // well-formed ARP of somebody else, IPv4 say
    bad_operation,
    bad_name,  // empty, a zero within, or a control character
};

// `bytes` begin behind the EtherType and may end in padding. Never reads outside of them.
ArpError parse(std::span<const std::byte> bytes, RinaArp& out) noexcept;

// Bytes written to the start of `to`; 0 if they do not fit or a name is too long.
std::size_t write(const RinaArp& arp, std::span<std::byte> to) noexcept;

// Whether a request for `target` is one for `registered`: rlite compares as many bytes as the
// registered name has, so that "a.IPCP" answers for "a.IPCP|1" too.
constexpr bool names(std::string_view target, std::string_view registered) noexcept {
    return !registered.empty() && target.starts_with(registered);
}

}  // namespace sluice::rina
