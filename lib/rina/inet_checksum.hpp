#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "rina/pci.hpp"

// The Internet checksum (RFC 1071) over a whole PDU, as rlite's IPC processes use it when their
// parameter "csum" is "inet": the sum covers the PCI with an empty checksum field and the payload,
// an odd last byte counts as if a zero followed, and the complement lies in the checksum field.
// Words are read and written in the byte order of memory: one's complement sums do not care.
namespace sluice::rina {

// The folded sum, not complemented.
std::uint16_t inet_sum(std::span<const std::byte> bytes) noexcept;

// What belongs into the checksum field of `pdu`, whatever stands there now. The PDU must have a
// PCI; padding behind the PDU must be cut off before.
std::uint16_t inet_checksum(std::span<const std::byte> pdu) noexcept;

// The same, put there.
inline void seal_inet_checksum(std::span<std::byte> pdu) noexcept {
    detail::store(pdu.data() + PciFormat::kChecksumAt, inet_checksum(pdu));
}

inline bool has_inet_checksum(std::span<const std::byte> pdu) noexcept {
    return inet_sum(pdu) == 0xffff;
}

// The checksum after a 16-bit word at an even offset changed from `before` to `after`, equation 3
// of RFC 1624. It equals the recomputed one because a PDU is never all zeros.
constexpr std::uint16_t adjust_inet_checksum(std::uint16_t checksum, std::uint16_t before,
                                             std::uint16_t after) noexcept {
    std::uint32_t sum = static_cast<std::uint16_t>(~checksum);
    sum += static_cast<std::uint16_t>(~before);
    sum += after;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum);
}

// What a relay does to a PDU with a checksum: another TTL in place.
inline void rewrite_ttl(std::byte* pdu, std::uint16_t ttl) noexcept {
    using detail::load;
    using detail::store;
    static_assert(PciFormat::kTtlAt % 2 == 0);
    const auto before = load<std::uint16_t>(pdu + PciFormat::kTtlAt);
    const auto checksum = load<std::uint16_t>(pdu + PciFormat::kChecksumAt);
    store(pdu + PciFormat::kTtlAt, ttl);
    store(pdu + PciFormat::kChecksumAt, adjust_inet_checksum(checksum, before, ttl));
}

}  // namespace sluice::rina
