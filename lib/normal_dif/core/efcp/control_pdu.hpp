#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "normal_dif/core/efcp/outbox.hpp"

// Control PDUs as bytes. Behind the six fields of rina/pci.hpp, between nodes that agreed on
// selective acknowledgement (type 0xCE, or 0xC6 without flow control):
//   n times: first and last sequence number of a block that was received above the cumulative
//   acknowledgement, both inclusive, each of the DIF's width; the most recent block comes first.
// n follows from the length of the PDU.
namespace sluice::efcp {

inline constexpr std::uint8_t kSackNoFlowControl = 0xc6;

constexpr bool has_sack(std::uint8_t type) noexcept {
    return type == static_cast<std::uint8_t>(rina::PduType::sack_flow_control) ||
           type == kSackNoFlowControl;
}
constexpr bool has_flow_control(std::uint8_t type) noexcept { return (type & 0x08) != 0; }
constexpr bool has_ack(std::uint8_t type) noexcept { return (type & 0x04) != 0; }

constexpr std::size_t control_bytes_max(const rina::PciFormat& format) noexcept {
    return format.control_bytes() + kSackBlocksMax * 2 * format.sequence;
}

// Builds the PDU; `to` must have item.pci.length bytes. The TTL and what protects the PDU are the
// RMT's business.
void write(const ControlItem& item, const rina::PciFormat& format, std::byte* to) noexcept;

// The blocks behind the fields, still as they are on the wire; nothing if they make no sense.
// `pdu`: all of a PDU that rina::parse() found to be a control PDU.
std::optional<Bounded<SackBlock, kSackBlocksMax>> parse_sack(
    std::span<const std::byte> pdu, const rina::PciFormat& format) noexcept;

}  // namespace sluice::efcp
