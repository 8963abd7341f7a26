#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/result.hpp"
#include "pcap_writer/pcap.hpp"

namespace sluice::pcap {

enum class Codec : std::uint8_t { none, zstd, lz4 };

Result<Codec> parse_codec(std::string_view name);
std::string_view name_of(Codec codec) noexcept;
// What is put behind a file's name: ".zst", ".lz4", or nothing.
std::string_view extension_of(Codec codec) noexcept;

// Compresses pieces one by one: each call makes one complete frame (RFC 8878 for zstd, the LZ4
// frame format for lz4), so that the frames of a file, one after the other, are a file that the
// zstd and lz4 tools read. For one thread; allocates in create() and perhaps in the first call.
class Compressor {
  public:
    // `level` 0: the library's default. Codec::none copies.
    static Result<std::unique_ptr<Compressor>> create(Codec codec, int level);
    virtual ~Compressor() = default;

    // How long `out` must be for `in_bytes`.
    virtual std::size_t bound(std::size_t in_bytes) const = 0;
    virtual Result<std::size_t> compress(Bytes in, std::span<std::byte> out) = 0;
};

}  // namespace sluice::pcap
