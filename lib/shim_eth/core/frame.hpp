#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "rina/rina_arp.hpp"

// Ethernet headers (IEEE 802.3, 802.1Q), without and with one tag.

namespace sluice::shim_eth {

inline constexpr std::uint16_t kEtherTypeVlan = 0x8100;
inline constexpr std::size_t kEthernetBytes = 14;
inline constexpr std::size_t kTagBytes = 4;
inline constexpr std::uint16_t kVlanIdMax = 4094;

struct Header {
    std::array<std::byte, kEthernetBytes + kTagBytes> bytes{};
    std::uint8_t size = 0;

    std::span<const std::byte> view() const& noexcept { return {bytes.data(), size}; }
    void view() && = delete;  // of one that is gone when the view is used
};

// `vlan` 0: no tag.
Header make_header(const rina::MacAddress& destination, const rina::MacAddress& source,
                   std::uint16_t vlan, std::uint8_t priority, std::uint16_t ether_type) noexcept;

struct ParsedHeader {
    rina::MacAddress destination{};
    rina::MacAddress source{};
    std::uint16_t vlan = 0;  // also 0 behind a tag that has a priority only
    std::uint16_t ether_type = 0;
    std::uint8_t size = 0;  // 0: shorter than a header
};
// One tag at most is looked behind: of two, the inner one is the EtherType.
ParsedHeader parse_header(std::span<const std::byte> frame) noexcept;

constexpr std::uint64_t key_of(const rina::MacAddress& mac) noexcept {
    std::uint64_t key = 0;
    for (const std::uint8_t byte : mac) key = (key << 8) | byte;
    return key;
}
// Of a group of stations, the broadcast address among them.
constexpr bool is_group(const rina::MacAddress& mac) noexcept { return (mac[0] & 1) != 0; }

}  // namespace sluice::shim_eth
