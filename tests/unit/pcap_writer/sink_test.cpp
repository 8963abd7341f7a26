#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <thread>

#include "pcap_writer/sink_memory.hpp"
#include "pcap_writer/sink_posix.hpp"

using namespace sluice;
using Catch::Matchers::Contains;
using pcap::Bytes;

namespace {

Bytes bytes_of(std::string_view text) {
    return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

std::string text_of(Bytes b) { return {reinterpret_cast<const char*>(b.data()), b.size()}; }

// A directory that goes away with the test.
struct TempDir {
    std::string path = (std::filesystem::temp_directory_path() / "sluice-sink-XXXXXX").string();
    TempDir() { REQUIRE(::mkdtemp(path.data()) != nullptr); }
    ~TempDir() { std::filesystem::remove_all(path); }
    std::string file(const char* name) const { return path + "/" + name; }
};

std::string contents(const std::string& path) {
    auto b = pcap::load_file(path, 1 << 26);
    REQUIRE(b);
    return text_of(*b);
}

mode_t mode_of(const std::string& path) {
    struct stat s{};
    REQUIRE(::stat(path.c_str(), &s) == 0);
    return s.st_mode & 0777;
}

}  // namespace

TEST_CASE("a file is created for its owner, emptied and appended to") {
    const TempDir dir;
    const std::string path = dir.file("a");
    for (int life = 0; life < 2; ++life) {
        auto sink = pcap::PosixSink::open(path);
        REQUIRE(sink);
        const Bytes pieces[] = {bytes_of(""), bytes_of("one,"), bytes_of(""), bytes_of("two")};
        const pcap::Written w = (*sink)->write(pieces);
        CHECK(!w.error);
        CHECK(w.bytes == 7);
        CHECK((*sink)->write({}).bytes == 0);
        CHECK((*sink)->write(std::span(pieces).subspan(1, 1)).bytes == 4);
        CHECK((*sink)->close());
        CHECK(contents(path) == "one,twoone,");
    }
    CHECK(mode_of(path) == 0600);
    REQUIRE(pcap::PosixSink::open(dir.file("b"), true));
    CHECK((mode_of(dir.file("b")) & 0640) == 0640);
    CHECK((mode_of(dir.file("b")) & 0037) == 0);
}

TEST_CASE("more pieces than one system call takes are written in order") {
    const TempDir dir;
    auto sink = pcap::PosixSink::open(dir.file("a"));
    REQUIRE(sink);
    std::vector<std::string> texts;
    std::string all;
    for (int i = 0; i < 300; ++i) all += texts.emplace_back(std::to_string(i));
    std::vector<Bytes> pieces;
    for (const std::string& t : texts) pieces.push_back(bytes_of(t));
    CHECK((*sink)->write(pieces).bytes == all.size());
    CHECK(contents(dir.file("a")) == all);
}

TEST_CASE("a pipe that takes little at a time gets everything") {
    int fds[2];
    REQUIRE(::pipe(fds) == 0);
    REQUIRE(::fcntl(fds[1], F_SETFL, O_NONBLOCK) == 0);
    const std::string data(1 << 20, 'x');
    std::size_t read_count = 0;
    std::thread reader([&] {
        std::array<char, 7001> buffer;
        ssize_t n = 0;
        while ((n = ::read(fds[0], buffer.data(), buffer.size())) > 0)
            read_count += static_cast<std::size_t>(n);
    });
    {
        auto sink = pcap::PosixSink::open("/proc/self/fd/" + std::to_string(fds[1]));
        REQUIRE(sink);
        const Bytes pieces[] = {bytes_of(data), bytes_of("end")};
        const pcap::Written w = (*sink)->write(pieces);
        CHECK(!w.error);
        CHECK(w.bytes == data.size() + 3);
        CHECK(!(*sink)->truncate(0));
    }
    ::close(fds[1]);
    reader.join();
    ::close(fds[0]);
    CHECK(read_count == data.size() + 3);
}

TEST_CASE("errors name the file and the cause") {
    const TempDir dir;
    auto missing = pcap::PosixSink::open(dir.file("no/such"));
    REQUIRE(!missing);
    CHECK(missing.error().code == ENOENT);
    CHECK_THAT(missing.error().message,
               Contains("no/such\" for writing: No such file or directory"));
    CHECK(!pcap::PosixSink::open(""));

    auto full = pcap::PosixSink::open("/dev/full");
    REQUIRE(full);
    const Bytes pieces[] = {bytes_of("lost")};
    const pcap::Written w = (*full)->write(pieces);
    REQUIRE(w.error);
    CHECK(w.bytes == 0);
    CHECK(w.error->code == ENOSPC);
    CHECK_THAT(w.error->message, Contains("/dev/full\": No space left on device"));
}

TEST_CASE("a file is shortened and continued there") {
    const TempDir dir;
    auto sink = pcap::PosixSink::open(dir.file("a"));
    REQUIRE(sink);
    const Bytes pieces[] = {bytes_of("whole,torn")};
    REQUIRE(!(*sink)->write(pieces).error);
    REQUIRE((*sink)->truncate(6));
    const Bytes more[] = {bytes_of("next")};
    REQUIRE(!(*sink)->write(more).error);
    CHECK(contents(dir.file("a")) == "whole,next");
}

TEST_CASE("files above the limit are not loaded") {
    const TempDir dir;
    auto sink = pcap::PosixSink::open(dir.file("a"));
    REQUIRE(sink);
    const std::string data(600'000, 'x');
    const Bytes pieces[] = {bytes_of(data)};
    REQUIRE(!(*sink)->write(pieces).error);
    CHECK(pcap::load_file(dir.file("a"), 600'000)->size() == 600'000);
    auto refused = pcap::load_file(dir.file("a"), 599'999);
    REQUIRE(!refused);
    CHECK_THAT(refused.error().message, Contains("longer than the 599999 bytes"));
    CHECK(!pcap::load_file(dir.file("none"), 1));
    CHECK(!pcap::load_file(dir.path, 1));
}

TEST_CASE("a buffered sink writes what fills it, in order") {
    pcap::MemorySink memory;
    pcap::BufferedSink buffered(memory, 8);
    REQUIRE(buffered.append(bytes_of("abcd")));
    REQUIRE(buffered.append(bytes_of("efgh")));
    CHECK(memory.bytes().empty());
    REQUIRE(buffered.append(bytes_of("0123456789")));
    CHECK(text_of(memory.bytes()) == "abcdefgh0123456789");
    REQUIRE(buffered.append(bytes_of("z")));
    REQUIRE(buffered.flush());
    REQUIRE(buffered.flush());
    CHECK(text_of(memory.bytes()) == "abcdefgh0123456789z");

    memory.set_bytes_max(20);
    REQUIRE(buffered.append(bytes_of("full")));
    CHECK(!buffered.flush());
    CHECK(memory.bytes().size() == 20);
}
