#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace sluice::pcap {

using Bytes = std::span<const std::byte>;

// How far a write came. With an error, `bytes` of what was asked are in the file nevertheless:
// the caller needs that to say which packets are lost.
struct Written {
    std::uint64_t bytes = 0;
    std::optional<Error> error;
};

// Where the bytes of a capture go. For one thread.
class Sink {
  public:
    virtual ~Sink() = default;

    // Appends all pieces, in order.
    virtual Written write(std::span<const Bytes> pieces) = 0;
    // Shortens what was written, to cut off a record that a full disk tore; not every sink can.
    virtual Result<> truncate(std::uint64_t size) = 0;
    // Errors that a file system tells late come here. The sink is closed in any case.
    virtual Result<> close() = 0;
    // How messages call it.
    virtual const std::string& name() const noexcept = 0;
};

// Collects small pieces, for writers that have a record at a time.
class BufferedSink {
  public:
    explicit BufferedSink(Sink& sink, std::size_t capacity = std::size_t{64} * 1024);

    Result<> append(Bytes bytes);
    Result<> flush();

  private:
    Sink& sink_;
    std::size_t capacity_;
    std::vector<std::byte> buffer_;
};

}  // namespace sluice::pcap
