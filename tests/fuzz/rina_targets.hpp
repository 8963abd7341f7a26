#pragma once

#include <cstddef>
#include <span>

// What libFuzzer drives, and what the replay drives in every build: the codecs of a normal DIF. A
// violation aborts. Each says whether the bytes were understood.

namespace sluice::fuzz {

// The first byte picks the widths; then a PDU. What is understood is written as the same bytes.
bool rina_pci(std::span<const std::byte> bytes);
// A CDAP message, with the object in it. What is understood is written and read as the same again.
bool rina_cdap(std::span<const std::byte> bytes);
// The first byte picks the type; then an object of it.
bool rina_object(std::span<const std::byte> bytes);
// RINA-ARP, and names in rlite's form.
bool rina_arp(std::span<const std::byte> bytes);

}  // namespace sluice::fuzz
