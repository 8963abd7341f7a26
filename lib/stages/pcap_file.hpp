#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/instant.hpp"
#include "base/result.hpp"

// Capture files by way of libpcap, for the stages that read and write them. Control thread or a
// thread of its own, never an lcore.
namespace sluice::stages {

// A file in memory.
struct PcapPackets {
    struct Item {
        std::size_t offset;
        std::uint32_t size;
        std::int64_t ns;  // since the epoch
    };
    std::vector<std::byte> bytes;
    std::vector<Item> items;

    std::span<const std::byte> data(std::size_t i) const noexcept {
        return std::span(bytes).subspan(items[i].offset, items[i].size);
    }
};

// Whatever libpcap reads: pcap and pcapng. A file that is cut short, has no packets, or one that
// is larger than `packet_max`, or is above 4 GiB in all, is an error.
Result<PcapPackets> read_pcap(const std::string& path, std::uint32_t packet_max);

// Writes a pcap with nanosecond stamps.
class PcapDump {
  public:
    static Result<std::unique_ptr<PcapDump>> create(const std::string& path,
                                                    std::uint32_t snaplen);
    ~PcapDump();
    PcapDump(const PcapDump&) = delete;
    PcapDump& operator=(const PcapDump&) = delete;

    // False: the file could not be written (disk full); stays so.
    bool write(std::int64_t epoch_ns, std::span<const std::byte> captured,
               std::uint32_t size) noexcept;
    bool flush() noexcept;

  private:
    struct File;
    explicit PcapDump(std::unique_ptr<File> file) noexcept;
    std::unique_ptr<File> file_;
};

// What to add to an instant of the lcores' clock, which is `now` at the moment, to get nanoseconds
// since the epoch.
std::int64_t epoch_offset_ns(Instant now) noexcept;

}  // namespace sluice::stages
