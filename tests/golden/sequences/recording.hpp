#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/instant.hpp"
#include "base/result.hpp"
#include "rina/cdap.hpp"
#include "rina/pci.hpp"
#include "rina/rina_arp.hpp"

// What rlite nodes said to each other (tests/data/rlite), as one of them saw it.
namespace sluice::golden {

using Bytes = std::vector<std::byte>;
using View = std::span<const std::byte>;

// A DIF below the node's, and the files that have its traffic.
struct Lower {
    struct File {
        std::string name;
        // The clocks of the machines that captured were not the same.
        Duration late{};
    };
    std::string dif;
    std::vector<File> files;
    bool over_udp = false;
    // Of the node whose place we take.
    rina::MacAddress mac{};
    std::uint16_t vlan = 0;
    std::uint32_t address = 0;  // IPv4
};

// What precedes a datagram's payload in `Frame::bytes`: address and port of source and
// destination, big-endian.
inline constexpr std::size_t kUdpHead = 12;

struct Frame {
    Instant at{};
    std::string file;
    unsigned number = 0;    // in its file, from 1
    std::size_t lower = 0;  // which of the lowers
    bool ours = false;
    Bytes bytes;
    std::size_t head = 0;  // bytes in front of the PDU or of the ARP packet
    bool is_arp = false;

    View body() const { return View(bytes).subspan(head); }
    // Of a PDU.
    rina::Pci pci() const;
    View payload() const { return body().subspan(rina::kDefaultFormat.bytes()); }
    bool is_management() const;
    // Of a management PDU.
    rina::CdapMessage message() const;
    std::string name() const;
};

// In the order of time. IPv6 and ARP for IPv4 are left out.
Result<std::vector<Frame>> read_frames(const std::string& directory,
                                       const std::vector<Lower>& lowers);

unsigned be16(View bytes, std::size_t at);
std::uint32_t be32(View bytes, std::size_t at);

}  // namespace sluice::golden
