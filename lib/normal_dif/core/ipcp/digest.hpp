#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "rina/objects.hpp"

// What two neighbours compare to find out that one has missed something: messages that flood
// through a DIF are sent once, and N-1 flows lose some. A digest of each replicated table that does
// not depend on the order of its entries (after the Merkle digests of anti-entropy protocols:
// Demers et al., "Epidemic algorithms for replicated database maintenance", PODC 1987).
namespace sluice::mgmt {

struct TableDigests {
    // members, links, directory, addresses
    static constexpr std::size_t kTables = 4;
    std::array<std::uint64_t, kTables> of{};

    bool operator==(const TableDigests&) const = default;
};

std::uint64_t digest_of(const std::vector<rina::NeighborCandidate>& members);
std::uint64_t digest_of(const std::vector<rina::LowerFlow>& links);
std::uint64_t digest_of(const std::vector<rina::DftEntry>& names);
std::uint64_t digest_of(const std::vector<rina::AddrAllocRequest>& addresses);

// M_WRITE of this object; only between our own nodes, others do not know it and do not mind.
// 36 bytes: "SLD1", then the digests, little-endian.
inline constexpr rina::RibName kDigestObject{"digest", "/mgmt/digest"};
rina::Bytes encode(const TableDigests& digests);
std::optional<TableDigests> digests_in(const rina::ObjValue& value);

}  // namespace sluice::mgmt
