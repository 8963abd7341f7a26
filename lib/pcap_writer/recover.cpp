#include "pcap_writer/recover.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

#include "pcap_writer/pcapng.hpp"
#include "pcap_writer/sidecar.hpp"

namespace sluice::pcap {
namespace {

constexpr std::size_t kWindowBytes = std::size_t{1} << 20;
constexpr std::uint32_t kBlockBytesMax = 1u << 30;
constexpr std::uint32_t kCapturedMax = 1u << 28;
constexpr std::size_t kSectionBytesMin = 28;

// A piece of a file that moves over it; files are longer than memory.
class Window {
  public:
    Window(int fd, std::uint64_t limit) : fd_(fd), limit_(limit), buffer_(kWindowBytes) {}

    std::uint64_t limit() const noexcept { return limit_; }

    // The `n` bytes at `offset`, which lie below the limit; valid until the next call.
    Result<const std::byte*> at(std::uint64_t offset, std::size_t n) {
        if (offset >= start_ && offset + n <= start_ + have_) return &buffer_[offset - start_];
        start_ = offset;
        have_ = 0;
        const std::size_t want = std::min<std::uint64_t>(buffer_.size(), limit_ - offset);
        while (have_ < n) {
            const ssize_t r = ::pread(fd_, &buffer_[have_], want - have_,
                                      static_cast<off_t>(offset + have_));
            if (r < 0 && errno == EINTR) continue;
            if (r <= 0)
                return fail(r < 0 ? errno : EIO, "cannot read at byte {}: {}", offset + have_,
                            r < 0 ? std::strerror(errno) : "the file became shorter");
            have_ += static_cast<std::size_t>(r);
        }
        return buffer_.data();
    }

  private:
    int fd_;
    std::uint64_t limit_;
    std::vector<std::byte> buffer_;
    std::uint64_t start_ = 0;
    std::size_t have_ = 0;
};

// How far the records of a file are whole.
struct Walk {
    std::uint64_t records = 0;
    std::uint64_t end = 0;  // of the last whole one
    // Why it does not go on: empty at the end of the file, and where the last record is torn.
    std::string malformed;
};

std::uint32_t word(const std::byte* at, bool swapped) noexcept {
    const std::uint32_t v = get_le32(at);
    return swapped ? __builtin_bswap32(v) : v;
}

// What `h`, the header of a record, is wrong about.
std::string pcap_record_fault(const std::byte* h, bool swapped, std::uint32_t fraction_end,
                              std::uint32_t captured_max) {
    const std::uint32_t fraction = word(h + 4, swapped);
    const std::uint32_t captured = word(h + 8, swapped);
    if (std::all_of(h, h + kRecordHeaderBytes, [](std::byte b) { return b == std::byte{0}; }))
        return "zeros, expected a record";
    if (fraction >= fraction_end)
        return fmt::format("{} as fraction of a second, expected less than {}", fraction,
                           fraction_end);
    if (captured > captured_max)
        return fmt::format("a record of {} bytes, expected at most {}", captured, captured_max);
    return {};
}

Result<Walk> walk_pcap(Window& window) {
    Walk walk;
    if (window.limit() < kFileHeaderBytes) return walk;
    SLUICE_TRY(const std::byte* head, window.at(0, kFileHeaderBytes));
    const std::uint32_t magic = get_le32(head);
    const bool swapped =
        magic == __builtin_bswap32(kMagicUs) || magic == __builtin_bswap32(kMagicNs);
    const std::uint32_t known = swapped ? __builtin_bswap32(magic) : magic;
    if (known != kMagicUs && known != kMagicNs) {
        walk.malformed = fmt::format("{:#010x} is not the magic of a pcap file", magic);
        return walk;
    }
    const std::uint32_t fraction_end = known == kMagicNs ? 1'000'000'000 : 1'000'000;
    const std::uint32_t captured_max =
        std::clamp(word(head + 16, swapped), kSnaplenMax, kCapturedMax);
    walk.end = kFileHeaderBytes;
    while (window.limit() - walk.end >= kRecordHeaderBytes) {
        SLUICE_TRY(const std::byte* h, window.at(walk.end, kRecordHeaderBytes));
        walk.malformed = pcap_record_fault(h, swapped, fraction_end, captured_max);
        if (!walk.malformed.empty()) return walk;
        const std::uint64_t bytes = kRecordHeaderBytes + std::uint64_t{word(h + 8, swapped)};
        if (bytes > window.limit() - walk.end) return walk;
        walk.end += bytes;
        ++walk.records;
    }
    return walk;
}

bool is_packet(std::uint32_t type) noexcept {
    return type == kNgEnhancedPacket || type == kNgSimplePacket || type == kNgObsoletePacket;
}

Result<Walk> walk_pcapng(Window& window) {
    Walk walk;
    bool swapped = false;
    while (window.limit() - walk.end >= kNgBlockBytesMin) {
        SLUICE_TRY(const std::byte* h, window.at(walk.end, kNgBlockBytesMin));
        const std::uint32_t type = word(h, swapped);
        if (walk.end == 0 && type != kNgSectionHeader) {
            walk.malformed = fmt::format("{:#010x} does not start a pcapng file", type);
            return walk;
        }
        if (type == kNgSectionHeader) {
            const std::uint32_t magic = get_le32(h + 8);
            swapped = magic == __builtin_bswap32(kNgByteOrderMagic);
            if (!swapped && magic != kNgByteOrderMagic) {
                walk.malformed = fmt::format("{:#010x} as byte-order magic", magic);
                return walk;
            }
        }
        const std::uint32_t bytes = word(h + 4, swapped);
        if (bytes < kNgBlockBytesMin || bytes > kBlockBytesMax || bytes % 4 != 0) {
            walk.malformed = fmt::format("a block of {} bytes", bytes);
            return walk;
        }
        if (bytes > window.limit() - walk.end) return walk;
        SLUICE_TRY(const std::byte* tail, window.at(walk.end + bytes - 4, 4));
        if (const std::uint32_t again = word(tail, swapped); again != bytes) {
            walk.malformed = fmt::format("a block of {} bytes that says {} at its end", bytes,
                                         again);
            return walk;
        }
        walk.end += bytes;
        walk.records += is_packet(type) ? 1 : 0;
    }
    return walk;
}

Result<FileFormat> format_of(Window& window) {
    if (window.limit() < 4)
        return fail(EINVAL, "{} bytes are too short for a capture", window.limit());
    SLUICE_TRY(const std::byte* magic, window.at(0, 4));
    return get_le32(magic) == kNgSectionHeader ? FileFormat::pcapng : FileFormat::pcap;
}

// Closed whatever happens.
struct File {
    int fd = -1;
    explicit File(int f) noexcept : fd(f) {}
    ~File() {
        if (fd >= 0) ::close(fd);
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
};

Result<> cut(int fd, std::uint64_t bytes) {
    if (::ftruncate(fd, static_cast<off_t>(bytes)) != 0 || ::fsync(fd) != 0)
        return fail(errno, "cannot be cut to {} bytes: {}", bytes, std::strerror(errno));
    return {};
}

Result<Recovered> finish_with_sidecar(int fd, const Sidecar::Found& found, std::uint64_t size) {
    Window window(fd, std::min(found.committed, size));
    const bool ng = found.content.format == FileFormat::pcapng;
    SLUICE_TRY(const Walk walk, ng ? walk_pcapng(window) : walk_pcap(window));
    if (walk.end == 0 && !walk.malformed.empty())
        return fail(EINVAL, "byte 0: {}, although {} bytes were written", walk.malformed,
                    found.committed);
    // Even if the length is right: blocks may be reserved behind it.
    SLUICE_TRY_VOID(cut(fd, walk.end));
    Recovered r{walk.records, walk.end, size - walk.end, true, {}};
    if (!walk.malformed.empty())
        r.note = fmt::format("{} packets are whole; {} of the {} bytes that were written are lost "
                             "(byte {}: {})", r.records, window.limit() - walk.end,
                             window.limit(), walk.end, walk.malformed);
    else
        r.note = fmt::format("{} packets in the {} bytes that were written, {} bytes cut off",
                             r.records, window.limit(), r.bytes_cut);
    return r;
}

Result<Recovered> finish_without(int fd, std::uint64_t size) {
    Window window(fd, size);
    SLUICE_TRY(const FileFormat format, format_of(window));
    SLUICE_TRY(const Walk walk, format == FileFormat::pcapng ? walk_pcapng(window)
                                                             : walk_pcap(window));
    if (!walk.malformed.empty())
        return fail(EINVAL, "byte {}: {}; the file is left as it is", walk.end, walk.malformed);
    if (walk.end == 0)
        return fail(EINVAL, "the file ends within its header ({} bytes)", size);
    Recovered r{walk.records, walk.end, size - walk.end, false, {}};
    if (r.bytes_cut == 0) {
        r.note = fmt::format("whole, {} packets", r.records);
        return r;
    }
    SLUICE_TRY_VOID(cut(fd, walk.end));
    r.note = fmt::format("{} packets, and {} bytes of a torn one that were cut off", r.records,
                         r.bytes_cut);
    return r;
}

Result<Recovered> recover_file(const std::string& path) {
    SLUICE_TRY(const std::optional<Sidecar::Found> found, Sidecar::read(path));
    const File file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (file.fd < 0) return fail(errno, "cannot open \"{}\": {}", path, std::strerror(errno));
    struct stat s {};
    if (::fstat(file.fd, &s) != 0 || !S_ISREG(s.st_mode))
        return fail(EINVAL, "\"{}\" is not a file", path);
    const auto size = static_cast<std::uint64_t>(s.st_size);
    ::posix_fadvise(file.fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    Result<Recovered> r =
        found ? finish_with_sidecar(file.fd, *found, size) : finish_without(file.fd, size);
    if (!r) return fail(r.error().code, "{}: {}", path, r.error().message);
    // Also one that says nothing.
    if (::unlink(Sidecar::path_of(path).c_str()) != 0 && errno != ENOENT)
        return fail(errno, "cannot remove \"{}\": {}", Sidecar::path_of(path),
                    std::strerror(errno));
    return r;
}

}  // namespace

Result<Recovered> recover(const std::string& path) {
    if (path.size() > kSidecarSuffix.size() && path.ends_with(kSidecarSuffix))
        return recover_file(path.substr(0, path.size() - kSidecarSuffix.size()));
    return recover_file(path);
}

}  // namespace sluice::pcap
