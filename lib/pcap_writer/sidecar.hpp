#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace sluice::pcap {

enum class FileFormat : std::uint8_t { pcap, pcapng };

inline constexpr std::string_view kSidecarSuffix = ".sluice-part";

// What a file that is being written needs to be readable if its writer dies: FILE.sluice-part says
// how much of FILE is on disk. A capture file is longer than that while it is written, for it is
// preallocated or was recycled, and the old records behind look as good as the new ones.
//
// One page, mapped shared: a store is in the page cache at once and survives SIGKILL (not a power
// failure). The file is locked while its writer lives.
class Sidecar {
  public:
    struct Content {
        FileFormat format = FileFormat::pcap;
        std::uint32_t chunk_bytes = 0;  // the committed prefix grows by these
        std::uint32_t alignment = 0;    // of writes
    };
    struct Found {
        Content content;
        std::uint64_t id = 0;  // random, one for each file written
        std::uint64_t committed = 0;
    };

    // Before the first byte of the capture file is overwritten. Nothing is committed yet. A
    // sidecar that an earlier run left is replaced; one of a living writer is an error (EBUSY).
    static Result<Sidecar> create(const std::string& capture_path, const Content& content);
    Sidecar(Sidecar&& other) noexcept;
    Sidecar& operator=(Sidecar&& other) noexcept;
    // Leaves the file where it is; remove() is how a capture ends well.
    ~Sidecar();

    // The first `bytes` of the capture file are written.
    void commit(std::uint64_t bytes) noexcept;
    std::uint64_t committed() const noexcept;
    std::uint64_t id() const noexcept;
    // After the capture file got its final length.
    Result<> remove();

    static std::string path_of(std::string_view capture_path);
    // Nothing if there is no sidecar, or one of a writer that had not begun; EBUSY if its writer
    // lives; an error if it is not one.
    static Result<std::optional<Found>> read(const std::string& capture_path);
    // Whether a living process writes to the capture file.
    static bool in_use(const std::string& capture_path);

  private:
    Sidecar() = default;
    void release() noexcept;

    std::string path_;
    int fd_ = -1;
    std::byte* page_ = nullptr;
};

}  // namespace sluice::pcap
