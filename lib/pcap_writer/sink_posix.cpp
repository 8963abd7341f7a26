#include "pcap_writer/sink_posix.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace sluice::pcap {
namespace {

constexpr std::size_t kPiecesAtOnce = 64;  // of the 1024 that writev takes

// The next pieces of a write, and how much of the first of them is already out.
struct Rest {
    std::span<const Bytes> pieces;
    std::size_t skip = 0;

    void advance(std::size_t n) noexcept {
        while (!pieces.empty() && n >= pieces.front().size() - skip) {
            n -= pieces.front().size() - skip;
            pieces = pieces.subspan(1);
            skip = 0;
        }
        skip += n;
    }
};

ssize_t write_some(int fd, const Rest& rest) noexcept {
    std::array<iovec, kPiecesAtOnce> iov;
    const std::size_t count = std::min(kPiecesAtOnce, rest.pieces.size());
    for (std::size_t i = 0; i < count; ++i) {
        const Bytes piece = i == 0 ? rest.pieces[0].subspan(rest.skip) : rest.pieces[i];
        iov[i].iov_base = const_cast<std::byte*>(piece.data());
        iov[i].iov_len = piece.size();
    }
    return ::writev(fd, iov.data(), static_cast<int>(count));
}

}  // namespace

Result<std::unique_ptr<PosixSink>> PosixSink::open(const std::string& path, bool group_readable) {
    if (path.empty()) return fail(EINVAL, "the capture file has no name, expected a path or \"-\"");
    if (path == "-")
        return std::unique_ptr<PosixSink>(new PosixSink(STDOUT_FILENO, false, "standard output"));
    const mode_t mode = group_readable ? 0640 : 0600;
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0)
        return fail(errno, "cannot open \"{}\" for writing: {}", path, std::strerror(errno));
    return std::unique_ptr<PosixSink>(new PosixSink(fd, true, path));
}

PosixSink::~PosixSink() {
    if (fd_ >= 0 && owned_) ::close(fd_);
}

Written PosixSink::write(std::span<const Bytes> pieces) {
    Written done;
    Rest rest{pieces};
    rest.advance(0);  // empty pieces in front
    while (!rest.pieces.empty()) {
        const ssize_t n = write_some(fd_, rest);
        if (n >= 0) {
            done.bytes += static_cast<std::uint64_t>(n);
            rest.advance(static_cast<std::size_t>(n));
            continue;
        }
        if (errno == EINTR) continue;
        if (errno == EAGAIN) {  // standard output may be a pipe that somebody made non-blocking
            pollfd p{fd_, POLLOUT, 0};
            ::poll(&p, 1, -1);
            continue;
        }
        done.error = Error{errno, fmt::format("cannot write to \"{}\": {}", name_,
                                              std::strerror(errno))};
        break;
    }
    return done;
}

Result<> PosixSink::truncate(std::uint64_t size) {
    if (!owned_) return fail(ESPIPE, "\"{}\" cannot be shortened", name_);
    if (::ftruncate(fd_, static_cast<off_t>(size)) != 0 ||
        ::lseek(fd_, static_cast<off_t>(size), SEEK_SET) < 0)
        return fail(errno, "\"{}\" cannot be shortened: {}", name_, std::strerror(errno));
    return {};
}

Result<> PosixSink::close() {
    const int fd = fd_;
    fd_ = -1;
    if (fd < 0 || !owned_) return {};
    if (::close(fd) != 0 && errno != EINTR)
        return fail(errno, "error when closing \"{}\": {}", name_, std::strerror(errno));
    return {};
}

Result<std::vector<std::byte>> load_file(const std::string& path, std::size_t bytes_max) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail(errno, "cannot open \"{}\": {}", path, std::strerror(errno));
    constexpr std::size_t kStep = std::size_t{256} * 1024;
    std::vector<std::byte> bytes;
    for (;;) {
        const std::size_t have = bytes.size();
        // One byte more than allowed is asked for, to see that a file is longer.
        bytes.resize(have + std::min(kStep, bytes_max - have + 1));
        ssize_t n = 0;
        do {
            n = ::read(fd, bytes.data() + have, bytes.size() - have);
        } while (n < 0 && errno == EINTR);
        const int error = errno;
        bytes.resize(have + static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
        if (n > 0 && bytes.size() <= bytes_max) continue;
        ::close(fd);
        if (n < 0) return fail(error, "cannot read \"{}\": {}", path, std::strerror(error));
        if (n > 0)
            return fail(EFBIG, "\"{}\" is longer than the {} bytes that are allowed", path,
                        bytes_max);
        return bytes;
    }
}

}  // namespace sluice::pcap
