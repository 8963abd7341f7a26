#include "app/selftest.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "capture/block.hpp"
#include "control/event_loop.hpp"
#include "pcap_writer/block_io.hpp"

namespace sluice::app {

using control::Value;

namespace {

constexpr std::uint32_t kBlockBytes = 4u << 20;
constexpr std::uint32_t kBlocks = 16;
constexpr std::uint64_t kFileBytes = std::uint64_t{2} << 30;

double seconds_since(Instant begin) {
    return static_cast<double>((control::EventLoop::now() - begin).ns) / 1e9;
}

// Bytes a second. A file is written once, or round and round if it exists already.
Result<double> measure(pcap::BlockIo& io, capture::BlockPool& pool, int fd, bool again,
                       double seconds, const std::string& path) {
    const Instant begin = control::EventLoop::now();
    std::uint64_t offset = 0;
    std::uint64_t written = 0;
    unsigned in_flight = 0;
    const std::span<std::byte> memory = pool.memory();
    for (std::uint64_t next = 0;;) {
        const bool enough = seconds_since(begin) >= seconds ||
                            (!again && offset + kBlockBytes > kFileBytes);
        while (!enough && in_flight < kBlocks / 2) {
            if (offset + kBlockBytes > kFileBytes) offset = 0;
            io.submit(fd, memory.subspan((next % kBlocks) * kBlockBytes, kBlockBytes), offset,
                      next);
            ++next;
            ++in_flight;
            offset += kBlockBytes;
            if (!again && offset + kBlockBytes > kFileBytes) break;
        }
        std::array<pcap::BlockIo::Completion, kBlocks> done;
        const unsigned n = io.poll(done);
        for (unsigned i = 0; i < n; ++i) {
            --in_flight;
            if (done[i].result < 0)
                return fail(static_cast<int>(-done[i].result), "cannot write to \"{}\": {}", path,
                            std::strerror(static_cast<int>(-done[i].result)));
            written += static_cast<std::uint64_t>(done[i].result);
        }
        if (enough && in_flight == 0) break;
        if (n == 0) usleep(50);
    }
    return static_cast<double>(written) / seconds_since(begin);
}

}  // namespace

Result<Value> disk_selftest(const std::string& folder, double seconds) {
    SLUICE_TRY(auto pool, capture::BlockPool::create(kBlockBytes, kBlocks));
    auto uring = pcap::make_uring_io(pool->memory(), kBlocks, {});
    auto io = uring ? std::move(*uring) : pcap::make_posix_io();
    const std::string path = fmt::format("{}/.sluice-selftest-{}", folder, getpid());
    const int direct = io->direct() ? O_DIRECT : 0;
    Value v;
    v["folder"] = folder;
    v["io"] = io->name();
    for (const char* kind : {"fresh", "preallocated", "recycled"}) {
        const bool recycled = std::strcmp(kind, "recycled") == 0;
        const int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (recycled ? 0 : O_TRUNC);
        int fd = open(path.c_str(), flags | direct, 0600);
        if (fd < 0 && errno == EINVAL) fd = open(path.c_str(), flags, 0600);
        if (fd < 0)
            return fail(errno, "--selftest: cannot open \"{}\" for writing: {}", path,
                        std::strerror(errno));
        if (std::strcmp(kind, "preallocated") == 0)
            static_cast<void>(fallocate(fd, 0, 0, static_cast<off_t>(kFileBytes)));
        const auto rate = measure(*io, *pool, fd, recycled, seconds, path);
        close(fd);
        if (!rate) {
            unlink(path.c_str());
            return fail(rate.error());
        }
        v[std::string(kind) + "_bytes_per_s"] = static_cast<std::uint64_t>(*rate);
    }
    unlink(path.c_str());
    return v;
}

std::string selftest_verdict(const Value& disk, const Value& rx) {
    std::string out;
    double taken = 0;
    if (!disk.is_null()) {
        out += fmt::format("disk under {} ({}):\n", disk["folder"].get<std::string>(),
                           disk["io"].get<std::string>());
        for (const char* kind : {"fresh", "preallocated", "recycled"}) {
            const auto rate = disk[std::string(kind) + "_bytes_per_s"].get<double>();
            taken = std::max(taken, std::strcmp(kind, "fresh") == 0 ? 0.0 : rate);
            out += fmt::format("  {:<13} {:7.2f} GB/s = {:6.2f} Mpps of 64 B, {:5.2f} Mpps of 1518 "
                               "B\n", kind, rate / 1e9, rate / 80 / 1e6, rate / 1534 / 1e6);
        }
        const auto safe = disk["preallocated_bytes_per_s"].get<double>();
        for (const auto& [name, bytes_per_s] :
             {std::pair{"10 GbE, 64 B (14.88 Mpps)", 14.88e6 * 80},
              std::pair{"10 GbE, 1518 B (0.81 Mpps)", 0.8127e6 * 1534},
              std::pair{"40 GbE, 1518 B (3.25 Mpps)", 3.2509e6 * 1534}})
            out += fmt::format("  {:<27} {}\n", name,
                               bytes_per_s <= safe
                                   ? std::string("fits")
                                   : fmt::format("{:.0f} % would be lost",
                                                 100 * (1 - safe / bytes_per_s)));
    }
    if (!rx.is_null()) {
        double packets = 0, bytes = 0, missed = 0;
        for (const Value& row : rx["captures"]) {
            packets += row["received"].get<double>();
            bytes += row["bytes"].get<double>();
            missed += row["drops"]["nic_missed"].get<double>() +
                      row["drops"]["no_mbuf"].get<double>();
        }
        const double seconds = std::max(rx["seconds"].get<double>(), 1e-3);
        out += fmt::format("receive, stamp and copy, without the disk: {:.2f} Mpps, {:.2f} Gb/s; "
                           "{:.0f} packets missed by the ports\n", packets / seconds / 1e6,
                           bytes * 8 / seconds / 1e9, missed);
        const double needed = (bytes + packets * 16) / seconds;
        if (taken > 0 && packets > 0)
            out += needed <= taken
                       ? fmt::format("the disk takes all of that ({:.2f} GB/s)\n", needed / 1e9)
                       : fmt::format("of that the disk takes {:.0f} % ({:.2f} of {:.2f} GB/s)\n",
                                     100 * taken / needed, taken / 1e9, needed / 1e9);
    }
    return out;
}

}  // namespace sluice::app
