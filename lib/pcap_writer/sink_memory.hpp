#pragma once

#include <algorithm>
#include <cerrno>
#include <limits>

#include "pcap_writer/sink.hpp"

namespace sluice::pcap {

// A "file" in memory, for tests: it can be given the size at which it is full.
class MemorySink final : public Sink {
  public:
    explicit MemorySink(std::size_t bytes_max = std::numeric_limits<std::size_t>::max())
        : bytes_max_(bytes_max) {}

    Written write(std::span<const Bytes> pieces) override {
        Written w;
        for (const Bytes piece : pieces) {
            const std::size_t n = std::min(piece.size(), bytes_max_ - bytes_.size());
            bytes_.insert(bytes_.end(), piece.begin(),
                          piece.begin() + static_cast<std::ptrdiff_t>(n));
            w.bytes += n;
            if (n < piece.size()) {
                w.error = Error{ENOSPC, name_ + ": full"};
                break;
            }
        }
        return w;
    }
    Result<> truncate(std::uint64_t size) override {
        if (!can_truncate_) return fail(EINVAL, "{}: cannot be shortened", name_);
        bytes_.resize(static_cast<std::size_t>(size));
        return {};
    }
    Result<> close() override { return {}; }
    const std::string& name() const noexcept override { return name_; }

    void set_bytes_max(std::size_t n) noexcept { bytes_max_ = n; }
    void set_can_truncate(bool can) noexcept { can_truncate_ = can; }  // false: like a pipe
    Bytes bytes() const noexcept { return bytes_; }

  private:
    std::string name_ = "(memory)";
    std::vector<std::byte> bytes_;
    std::size_t bytes_max_;
    bool can_truncate_ = true;
};

}  // namespace sluice::pcap
