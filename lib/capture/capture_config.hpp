#pragma once

#include <cstdint>
#include <string>

#include "base/instant.hpp"
#include "base/result.hpp"
#include "pcap_writer/pcap.hpp"

namespace sluice::capture {

inline constexpr std::uint32_t kChunkAlign = 4096;
inline constexpr std::uint32_t kChunkBytesMax = 64u << 20;
inline constexpr std::uint32_t kChunksMax = 65536;

struct CaptureConfig {
    std::string file;  // "-": standard output
    bool group_readable = false;
    pcap::Linktype linktype = pcap::Linktype::ethernet;
    pcap::Resolution resolution = pcap::Resolution::ns;
    std::uint32_t snaplen = 65535;  // the most bytes kept of a packet

    // Of each tap: what it may run ahead of the disk.
    std::uint32_t chunk_bytes = 256u << 10;  // rounded up to kChunkAlign
    std::uint32_t chunks = 64;
    int socket = -1;  // NUMA node of the chunks; -1: any

    // Packets are in the file this long after they were seen, full chunk or not.
    Duration flush_interval = Duration::milliseconds(100);
    // With several taps in one file: how long a record waits for an earlier one of a tap from
    // which nothing is heard. It has to exceed the longest iteration of an lcore.
    Duration merge_window = Duration::milliseconds(20);
};

// The configuration as it will be used, or what is wrong with it.
Result<CaptureConfig> checked(CaptureConfig config);

}  // namespace sluice::capture
