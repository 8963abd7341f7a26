#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "pcap_writer/pcap_reader.hpp"
#include "pcap_writer/pcapng.hpp"

namespace sluice::pcap {

// An interface of the section that is being read.
struct NgReadInterface {
    Linktype linktype = Linktype::ethernet;
    std::uint32_t snaplen = 0;
    std::string name, description, filter;
    std::uint64_t speed_bps = 0;
    // if_tsresol: units of 10^-n seconds, or of 2^-n with the upper bit set.
    std::uint8_t resolution = 6;
    std::int64_t offset_s = 0;  // if_tsoffset: added to every stamp
};

struct NgRecord {
    Record record;  // a Simple Packet Block has no stamp: wall_ns is 0
    std::uint32_t interface_id = 0;  // within its section
    Linktype linktype = Linktype::ethernet;
    std::uint32_t flags = 0;                  // epb_flags
    std::optional<std::uint64_t> drop_count;  // epb_dropcount
};

// Reads pcapng from memory: both byte orders, any number of sections, Enhanced, Simple and the old
// Packet Blocks, every resolution; skips blocks that it does not know. Whatever the bytes are, it
// stays inside them and says what is wrong and at which byte.
class NgReader {
  public:
    // `name` is how errors call the file. The bytes must outlive the reader and its records.
    static Result<NgReader> open(std::span<const std::byte> bytes, std::string_view name);

    // The next packet, nothing at the end of the file. After an error the same error comes again.
    Result<std::optional<NgRecord>> next();

    // As far as they were met; a new section starts with none.
    const std::vector<NgReadInterface>& interfaces() const noexcept { return interfaces_; }
    // Interface Statistics Blocks of all sections so far.
    const std::vector<NgStats>& statistics() const noexcept { return statistics_; }
    const NgSection& section() const noexcept { return section_; }
    std::uint32_t sections() const noexcept { return sections_; }
    std::size_t offset() const noexcept { return offset_; }

  private:
    struct Block {
        std::size_t at = 0;
        std::uint32_t type = 0;
        std::uint32_t bytes = 0;  // with both lengths
        std::size_t end() const noexcept { return at + bytes - 4; }  // of its body
    };
    struct Option {
        std::uint16_t code = 0;
        std::size_t at = 0;
        std::uint16_t bytes = 0;
    };
    struct PacketFields;

    NgReader() = default;
    std::uint16_t half(std::size_t at) const noexcept;
    std::uint32_t word(std::size_t at) const noexcept;
    std::uint64_t wide(std::size_t at) const noexcept;
    std::uint64_t stamp(std::size_t at) const noexcept;
    std::string text(std::size_t at, std::size_t bytes) const;

    Result<Block> block_at(std::size_t at);
    Result<std::optional<Option>> option_at(const Block& block, std::size_t& at) const;
    Result<> need(const Block& block, std::size_t body_bytes, const char* what) const;
    Result<> read_section(const Block& block);
    Result<> read_interface(const Block& block);
    Result<> read_statistics(const Block& block);
    Result<NgRecord> read_enhanced(const Block& block) const;
    Result<NgRecord> read_obsolete(const Block& block) const;
    Result<NgRecord> read_simple(const Block& block) const;
    Result<NgRecord> packet(const Block& block, const PacketFields& fields) const;

    std::span<const std::byte> bytes_;
    std::string name_;
    std::size_t offset_ = 0;
    bool swapped_ = false;
    std::uint32_t sections_ = 0;
    NgSection section_;
    std::vector<NgReadInterface> interfaces_;
    std::vector<NgStats> statistics_;
};

}  // namespace sluice::pcap
