#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "pcap_writer/pcap.hpp"

namespace sluice::pcap {

struct Record {
    std::int64_t wall_ns = 0;
    std::uint32_t original = 0;       // bytes the packet had
    std::span<const std::byte> data;  // the bytes that were kept; a view of the file's bytes
};

// Reads classic PCAP from memory, both resolutions and both byte orders. Whatever the bytes are,
// it stays inside them and says what is wrong and at which byte.
class Reader {
  public:
    // `name` is how errors call the file. The bytes must outlive the reader and its records.
    static Result<Reader> open(std::span<const std::byte> bytes, std::string_view name);

    // The next record, nothing at the end of the file. After an error the same error comes again.
    Result<std::optional<Record>> next();

    Linktype linktype() const noexcept { return linktype_; }
    Resolution resolution() const noexcept { return resolution_; }
    std::uint32_t snaplen() const noexcept { return snaplen_; }
    std::size_t offset() const noexcept { return offset_; }

  private:
    Reader() = default;
    std::uint32_t word(std::size_t at) const noexcept;

    std::span<const std::byte> bytes_;
    std::string name_;
    std::size_t offset_ = 0;
    bool swapped_ = false;
    Resolution resolution_ = Resolution::us;
    Linktype linktype_ = Linktype::ethernet;
    std::uint32_t snaplen_ = 0;
};

}  // namespace sluice::pcap
