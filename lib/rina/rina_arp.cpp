#include "rina/rina_arp.hpp"

#include <algorithm>
#include <cstring>

#include "rina/rlite_name.hpp"

namespace sluice::rina {

namespace {

constexpr std::size_t kFixedBytes = 8;
constexpr std::uint16_t kHardwareEthernet = 1;

std::uint16_t load_be16(const std::byte* at) noexcept {
    return static_cast<std::uint16_t>((std::to_integer<unsigned>(at[0]) << 8) |
                                      std::to_integer<unsigned>(at[1]));
}

void store_be16(std::byte* at, std::uint16_t v) noexcept {
    at[0] = static_cast<std::byte>(v >> 8);
    at[1] = static_cast<std::byte>(v & 0xff);
}

// A name with its padding; empty if it is none.
std::string_view name_of(std::span<const std::byte> field) noexcept {
    std::string_view name(reinterpret_cast<const char*>(field.data()), field.size());
    while (!name.empty() && name.back() == '\0') name.remove_suffix(1);
    return has_control_character(name) ? std::string_view{} : name;
}

}  // namespace

ArpError parse(std::span<const std::byte> bytes, RinaArp& out) noexcept {
    if (bytes.size() < kFixedBytes) return ArpError::truncated;
    const std::byte* const p = bytes.data();
    if (load_be16(p) != kHardwareEthernet || load_be16(p + 2) != kEtherTypeRina ||
        std::to_integer<std::size_t>(p[4]) != sizeof(MacAddress))
        return ArpError::other_protocol;
    const auto plen = std::to_integer<std::size_t>(p[5]);
    if (bytes.size() < kFixedBytes + 2 * (sizeof(MacAddress) + plen)) return ArpError::truncated;
    const std::uint16_t operation = load_be16(p + 6);
    if (operation != 1 && operation != 2) return ArpError::bad_operation;
    out.operation = static_cast<RinaArp::Operation>(operation);
    const std::size_t sender_at = kFixedBytes + sizeof(MacAddress);
    const std::size_t target_mac_at = sender_at + plen;
    std::memcpy(out.sender_mac.data(), p + kFixedBytes, sizeof(MacAddress));
    std::memcpy(out.target_mac.data(), p + target_mac_at, sizeof(MacAddress));
    out.sender = name_of(bytes.subspan(sender_at, plen));
    out.target = name_of(bytes.subspan(target_mac_at + sizeof(MacAddress), plen));
    return out.sender.empty() || out.target.empty() ? ArpError::bad_name : ArpError::none;
}

std::size_t write(const RinaArp& arp, std::span<std::byte> to) noexcept {
    const std::size_t plen = std::max(arp.sender.size(), arp.target.size());
    const std::size_t size = kFixedBytes + 2 * (sizeof(MacAddress) + plen);
    if (plen > kRinaArpNameBytesMax || size > to.size()) return 0;
    std::byte* p = to.data();
    std::memset(p, 0, size);
    store_be16(p, kHardwareEthernet);
    store_be16(p + 2, kEtherTypeRina);
    p[4] = static_cast<std::byte>(sizeof(MacAddress));
    p[5] = static_cast<std::byte>(plen);
    store_be16(p + 6, static_cast<std::uint16_t>(arp.operation));
    p += kFixedBytes;
    const auto put = [&p, plen](const MacAddress& mac, std::string_view name) noexcept {
        std::memcpy(p, mac.data(), sizeof mac);
        std::copy(name.begin(), name.end(), reinterpret_cast<char*>(p + sizeof mac));
        p += sizeof mac + plen;
    };
    put(arp.sender_mac, arp.sender);
    put(arp.target_mac, arp.target);
    return size;
}

}  // namespace sluice::rina
