#include "pcap_writer/block_io.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cerrno>
#include <map>
#include <thread>
#include <vector>

#include "base/rng.hpp"
#include "temp_folder.hpp"

using namespace sluice;
using pcap::BlockIo;
using test::TempFolder;

namespace {

constexpr std::size_t kPage = 4096;

// As O_DIRECT wants it.
class Memory {
  public:
    explicit Memory(std::size_t pages) : storage_((pages + 1) * kPage) {
        const auto at = reinterpret_cast<std::uintptr_t>(storage_.data());
        all_ = {storage_.data() + (kPage - at % kPage) % kPage, pages * kPage};
        for (std::size_t i = 0; i < all_.size(); ++i)
            all_[i] = static_cast<std::byte>(i * 7 + i / kPage);
    }
    std::span<std::byte> all() const { return all_; }
    std::span<const std::byte> pages(std::size_t first, std::size_t count) const {
        return all_.subspan(first * kPage, count * kPage);
    }

  private:
    std::vector<std::byte> storage_;
    std::span<std::byte> all_;
};

struct File {
    File(const std::string& path, bool direct, int flags = O_RDWR | O_CREAT) {
        fd = ::open(path.c_str(), flags | O_CLOEXEC | (direct ? O_DIRECT : 0), 0600);
        // Some file systems have none.
        if (fd < 0 && direct) fd = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
        REQUIRE(fd >= 0);
    }
    ~File() { ::close(fd); }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    int fd;
};

constexpr std::array kKinds{"posix", "uring"};

// Nothing where io_uring is refused, as containers do.
std::unique_ptr<BlockIo> make(const std::string& kind, const Memory& memory, unsigned depth) {
    if (kind == "posix") return pcap::make_posix_io();
    auto io = pcap::make_uring_io(memory.all(), depth, {});
    if (!io) {
        WARN(io.error().message);
        return nullptr;
    }
    return std::move(*io);
}

// Until `count` have ended: what became of each.
std::map<std::uint64_t, std::int64_t> wait_for(BlockIo& io, std::size_t count) {
    std::map<std::uint64_t, std::int64_t> results;
    std::array<BlockIo::Completion, 3> some{};
    while (results.size() < count) {
        const unsigned n = io.poll(some);
        REQUIRE(n <= some.size());
        for (unsigned i = 0; i < n; ++i)
            REQUIRE(results.emplace(some[i].cookie, some[i].result).second);
    }
    CHECK(io.poll(some) == 0);
    return results;
}

std::string text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

TEST_CASE("Many writes at once put every byte in its place", "[block_io]") {
    const std::string kind = GENERATE(from_range(kKinds));
    const TempFolder folder;
    const Memory memory(64);
    const auto io = make(kind, memory, 16);
    if (!io) return;
    CHECK(io->name() == kind);
    CHECK(io->blocks() == !io->direct());
    const File file(folder / "a", io->direct());
    std::vector<std::size_t> order(16);
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    Rng rng(3);
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
    const unsigned room = io->room();
    REQUIRE(room >= 16);
    unsigned submitted = 0;
    for (const std::size_t i : order) {
        io->submit(file.fd, memory.pages(4 * i, 4), 4 * kPage * i, 1000 + i);
        CHECK(io->room() == room - ++submitted);
    }
    const auto results = wait_for(*io, 16);
    CHECK(io->room() == room);
    for (std::size_t i = 0; i < 16; ++i) CHECK(results.at(1000 + i) == 4 * kPage);
    CHECK(folder.read("a") == text_of(memory.all()));
}

TEST_CASE("A queue that was full takes more when some have ended", "[block_io]") {
    const std::string kind = GENERATE(from_range(kKinds));
    const TempFolder folder;
    const Memory memory(32);
    const auto io = make(kind, memory, 4);
    if (!io) return;
    const File file(folder / "a", io->direct());
    std::size_t submitted = 0;
    std::size_t ended = 0;
    std::vector<bool> seen(1000);
    std::array<BlockIo::Completion, 8> some{};
    while (ended < 1000) {
        for (; submitted < 1000 && io->room() != 0; ++submitted)
            io->submit(file.fd, memory.pages(submitted % 32, 1), submitted % 32 * kPage, submitted);
        const unsigned n = io->poll(some);
        for (unsigned i = 0; i < n; ++i) {
            REQUIRE(some[i].result == kPage);
            REQUIRE_FALSE(seen.at(some[i].cookie));
            seen[some[i].cookie] = true;
        }
        ended += n;
    }
    CHECK(folder.read("a") == text_of(memory.all()));
}

TEST_CASE("Each write tells its own error", "[block_io]") {
    const std::string kind = GENERATE(from_range(kKinds));
    const TempFolder folder;
    const Memory memory(4);
    const auto io = make(kind, memory, 8);
    if (!io) return;
    folder.make("b", 10);
    const File good(folder / "a", io->direct());
    const File read_only(folder / "b", false, O_RDONLY);
    io->submit(good.fd, memory.pages(0, 1), 0, 1);
    io->submit(read_only.fd, memory.pages(1, 1), 0, 2);
    io->submit(-1, memory.pages(1, 1), 0, 3);
    io->submit(good.fd, memory.pages(2, 1), kPage, 4);
    const auto results = wait_for(*io, 4);
    CHECK(results.at(1) == kPage);
    CHECK(results.at(2) == -EBADF);
    CHECK(results.at(3) == -EBADF);
    CHECK(results.at(4) == kPage);
    CHECK(folder.read("a") == text_of(memory.pages(0, 1)) + text_of(memory.pages(2, 1)));
    CHECK(folder.read("b").size() == 10);
}

TEST_CASE("A full disk is an error or a short write, never silence", "[block_io]") {
    const std::string kind = GENERATE(from_range(kKinds));
    const TempFolder folder;
    const Memory memory(8);
    // The limit is the process's: another one bears it.
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ::signal(SIGXFSZ, SIG_IGN);
        const rlimit limit{2 * kPage, 2 * kPage};
        ::setrlimit(RLIMIT_FSIZE, &limit);
        std::unique_ptr<BlockIo> io = pcap::make_posix_io();
        if (kind == "uring") {
            auto made = pcap::make_uring_io(memory.all(), 4, {});
            if (!made) ::_exit(0);
            io = std::move(*made);
        }
        const int fd = ::open((folder / "a").c_str(), O_RDWR | O_CREAT, 0600);
        io->submit(fd, memory.pages(0, 4), 0, 7);
        BlockIo::Completion done;
        while (io->poll({&done, 1}) == 0) {
        }
        const bool short_or_error = done.result == -EFBIG || done.result == 2 * kPage;
        ::_exit(done.cookie == 7 && short_or_error ? 0 : 1);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("Pipes get everything in order, also if they are full for a while", "[block_io]") {
    const Memory memory(64);  // four times what a pipe holds
    int ends[2];
    REQUIRE(::pipe2(ends, GENERATE(0, O_NONBLOCK)) == 0);
    std::string got;
    std::thread reader([&got, fd = ends[0]] {
        char buffer[1000];
        for (;;) {
            const ssize_t n = ::read(fd, buffer, sizeof buffer);
            if (n > 0) got.append(buffer, static_cast<std::size_t>(n));
            if (n == 0) return;
            if (n < 0) {
                pollfd p{fd, POLLIN, 0};
                ::poll(&p, 1, -1);
            }
        }
    });
    const auto io = pcap::make_posix_io();
    for (std::size_t i = 0; i < 8; ++i)
        // As in a file: the offset says nothing.
        io->submit(ends[1], memory.pages(8 * i, 8), 8 * i * kPage, i);
    const auto results = wait_for(*io, 8);
    ::close(ends[1]);
    reader.join();
    ::close(ends[0]);
    for (const auto& [cookie, result] : results) CHECK(result == 8 * kPage);
    CHECK(got == text_of(memory.all()));
}

TEST_CASE("A pipe that nobody reads any more is an error", "[block_io]") {
    ::signal(SIGPIPE, SIG_IGN);
    const Memory memory(1);
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    ::close(ends[0]);
    const auto io = pcap::make_posix_io();
    io->submit(ends[1], memory.all(), 0, 5);
    CHECK(wait_for(*io, 1).at(5) == -EPIPE);
    ::close(ends[1]);
}

TEST_CASE("Nothing to write is written", "[block_io]") {
    const TempFolder folder;
    const auto io = pcap::make_posix_io();
    const File file(folder / "a", false);
    io->submit(file.fd, {}, 100, 1);
    CHECK(wait_for(*io, 1).at(1) == 0);
    CHECK(folder.read("a").empty());
}

TEST_CASE("Helpers of the kernel may be kept to some cores", "[block_io]") {
    const Memory memory(1);
    const TempFolder folder;
    const std::array<unsigned, 1> cpus{0};
    const auto io = pcap::make_uring_io(memory.all(), 4, cpus);
    if (!io) return;
    const File file(folder / "a", true);
    (*io)->submit(file.fd, memory.all(), 0, 1);
    CHECK(wait_for(**io, 1).at(1) == kPage);
}

TEST_CASE("Without a disk all writes succeed", "[block_io]") {
    const Memory memory(4);
    const auto io = pcap::make_null_io();
    const unsigned room = io->room();
    io->submit(-1, memory.pages(0, 3), 0, 1);
    io->submit(-1, memory.pages(3, 1), 0, 2);
    CHECK(io->room() == room - 2);
    const auto results = wait_for(*io, 2);
    CHECK(results.at(1) == 3 * kPage);
    CHECK(results.at(2) == kPage);
}
