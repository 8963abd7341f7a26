#include "shim_eth/core/frame.hpp"

#include <cstring>

namespace sluice::shim_eth {

namespace {

constexpr std::size_t kMacBytes = sizeof(rina::MacAddress);

std::uint16_t load_be16(const std::byte* at) noexcept {
    return static_cast<std::uint16_t>((std::to_integer<unsigned>(at[0]) << 8) |
                                      std::to_integer<unsigned>(at[1]));
}

std::byte* put_be16(std::byte* at, std::uint16_t v) noexcept {
    at[0] = static_cast<std::byte>(v >> 8);
    at[1] = static_cast<std::byte>(v & 0xff);
    return at + 2;
}

}  // namespace

Header make_header(const rina::MacAddress& destination, const rina::MacAddress& source,
                   std::uint16_t vlan, std::uint8_t priority, std::uint16_t ether_type) noexcept {
    Header header;
    std::byte* at = header.bytes.data();
    std::memcpy(at, destination.data(), kMacBytes);
    std::memcpy(at + kMacBytes, source.data(), kMacBytes);
    at += 2 * kMacBytes;
    if (vlan != 0) {
        at = put_be16(at, kEtherTypeVlan);
        at = put_be16(at, static_cast<std::uint16_t>(((priority & 7u) << 13) | (vlan & 0xfffu)));
    }
    at = put_be16(at, ether_type);
    header.size = static_cast<std::uint8_t>(at - header.bytes.data());
    return header;
}

ParsedHeader parse_header(std::span<const std::byte> frame) noexcept {
    ParsedHeader header;
    if (frame.size() < kEthernetBytes) return header;
    const std::byte* const at = frame.data();
    std::memcpy(header.destination.data(), at, kMacBytes);
    std::memcpy(header.source.data(), at + kMacBytes, kMacBytes);
    header.ether_type = load_be16(at + 2 * kMacBytes);
    if (header.ether_type != kEtherTypeVlan) {
        header.size = kEthernetBytes;
        return header;
    }
    if (frame.size() < kEthernetBytes + kTagBytes) return header;
    header.vlan = load_be16(at + kEthernetBytes) & 0xfff;
    header.ether_type = load_be16(at + kEthernetBytes + 2);
    header.size = kEthernetBytes + kTagBytes;
    return header;
}

}  // namespace sluice::shim_eth
