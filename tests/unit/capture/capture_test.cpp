#include <pthread.h>
#include <signal.h>

#include <array>
#include <condition_variable>
#include <cstdio>
#include <thread>

#include "capture/capture_writer.hpp"
#include "dataplane/clock.hpp"
#include "pcap_writer/sink_posix.hpp"
#include "support.hpp"

using namespace sluice;
using namespace sluice::capture;
using namespace sluice::capture::test;
using Catch::Matchers::Contains;

namespace {

std::int64_t now_ns() { return dp::TscClock::instance().now().ns; }

void check_accounts(const CaptureStats& s) {
    CHECK(s.received == s.captured + s.dropped_no_buffer + s.dropped_write_error);
    CHECK(s.pending == 0);
    CHECK(s.file_bytes == 24 + 16 * s.captured + s.bytes);
}

// Output of a command; nothing if it is not installed.
std::string output_of(const std::string& command) {
    std::string text;
    std::FILE* f = ::popen((command + " 2>/dev/null").c_str(), "r");
    REQUIRE(f != nullptr);
    std::array<char, 4096> buffer;
    for (std::size_t n = 0; (n = std::fread(buffer.data(), 1, buffer.size(), f)) > 0;)
        text.append(buffer.data(), n);
    ::pclose(f);
    return text;
}

// Tells when the first records arrive.
class TellingSink final : public pcap::Sink {
  public:
    pcap::Written write(std::span<const pcap::Bytes> pieces) override {
        const std::lock_guard lock(mutex_);
        pcap::Written w = memory_.write(pieces);
        told_.notify_all();
        return w;
    }
    Result<> truncate(std::uint64_t size) override { return memory_.truncate(size); }
    Result<> close() override { return memory_.close(); }
    const std::string& name() const noexcept override { return memory_.name(); }

    void wait_for_bytes(std::size_t n) {
        std::unique_lock lock(mutex_);
        told_.wait(lock, [&] { return memory_.bytes().size() >= n; });
    }
    pcap::Bytes bytes() const { return memory_.bytes(); }

  private:
    std::mutex mutex_;
    std::condition_variable told_;
    pcap::MemorySink memory_;
};

// The disk fills up behind the file header.
class FullDisk final : public pcap::Sink {
  public:
    FullDisk() : full_(std::move(*pcap::PosixSink::open("/dev/full"))) {}
    pcap::Written write(std::span<const pcap::Bytes> pieces) override {
        if (!started_) {
            started_ = true;
            return {pieces[0].size(), {}};
        }
        return full_->write(pieces);
    }
    Result<> truncate(std::uint64_t size) override { return full_->truncate(size); }
    Result<> close() override { return full_->close(); }
    const std::string& name() const noexcept override { return full_->name(); }

  private:
    std::unique_ptr<pcap::PosixSink> full_;
    bool started_ = false;
};

}  // namespace

TEST_CASE("several lcores tap into one file, in order and without loss of count") {
    Pool pool;
    const TempDir dir;
    CaptureConfig c;
    c.file = dir.file("merged.pcap");
    c.chunk_bytes = 128 << 10;
    c.chunks = 8;
    auto capture = Capture::start(c);
    REQUIRE(capture);
    constexpr unsigned kTaps = 3;
    constexpr unsigned kBursts = 3000;
    const Packet packets[kTaps] = {Packet(pool.packet(60)), Packet(pool.packet(61)),
                                   Packet(pool.packet(1514, 0, 500))};
    std::vector<std::thread> lcores;
    for (unsigned i = 0; i < kTaps; ++i) {
        auto tap = (*capture)->add_tap();
        REQUIRE(tap);
        lcores.emplace_back([t = *tap, p = packets[i].get(), i] {
            for (unsigned n = 0; n < kBursts; ++n) tap_at(*t, now_ns(), p, 1 + (n + i) % 8);
        });
    }
    // The control thread looks on meanwhile.
    for (int i = 0; i < 20; ++i) {
        (*capture)->flush();
        const CaptureStats s = (*capture)->stats();
        CHECK(s.running);
        CHECK(s.captured <= s.received);
    }
    for (std::thread& t : lcores) t.join();
    REQUIRE((*capture)->stop());
    REQUIRE((*capture)->stop());
    const CaptureStats s = (*capture)->stats();
    CHECK(s.received == std::uint64_t{kTaps} * kBursts / 8 * 36);
    CHECK(s.captured > 0);
    CHECK(!s.running);
    CHECK(s.file == c.file);
    check_accounts(s);
    CHECK(!(*capture)->add_tap());

    auto bytes = pcap::load_file(c.file, 1 << 28);
    REQUIRE(bytes);
    CHECK(bytes->size() == s.file_bytes);
    const auto stamps = stamps_of(*bytes);
    CHECK(stamps.size() == s.captured);
    CHECK(std::is_sorted(stamps.begin(), stamps.end()));

    const std::string info = output_of("capinfos -M " + c.file);
    if (info.empty()) {
        WARN("capinfos is not installed; the file was read by our own reader only");
        return;
    }
    CHECK_THAT(info, Contains("Strict time order:   True"));
    CHECK_THAT(info, Contains("Number of packets:   " + std::to_string(s.captured)));
    CHECK_THAT(info, Contains("File timestamp precision:  nanoseconds"));
    CHECK_THAT(info, Contains("File encapsulation:  ether"));
}

TEST_CASE("tshark reads what was captured") {
    Pool pool;
    const TempDir dir;
    CaptureConfig c;
    c.file = dir.file("a.pcap");
    c.snaplen = 100;
    c.chunks = 2;
    auto capture = Capture::start(c);
    REQUIRE(capture);
    auto tap = (*capture)->add_tap();
    REQUIRE(tap);
    for (const unsigned length : {60u, 100u, 1514u})
        tap_at(**tap, now_ns(), Packet(pool.packet(length)).get());
    REQUIRE((*capture)->stop());
    check_accounts((*capture)->stats());
    const std::string text =
        output_of("tshark -n -r " + c.file + " -T fields -e frame.len -e frame.cap_len");
    if (text.empty()) {
        WARN("tshark is not installed; the file was not shown to it");
        return;
    }
    CHECK(text == "60\t60\n100\t100\n1514\t100\n");
}

TEST_CASE("flush brings what was tapped before to the file") {
    Pool pool;
    const TempDir dir;
    CaptureConfig c;
    c.file = dir.file("a.pcap");
    c.chunks = 2;
    c.flush_interval = Duration::seconds(60);  // no help from there
    c.merge_window = Duration::seconds(60);
    auto capture = Capture::start(c);
    REQUIRE(capture);
    auto first = (*capture)->add_tap();
    auto second = (*capture)->add_tap();
    REQUIRE(first);
    REQUIRE(second);
    const Packet p(pool.packet(60));
    for (unsigned i = 1; i <= 20; ++i) {
        tap_at(**first, now_ns(), p.get());
        (*capture)->flush();
        const CaptureStats s = (*capture)->stats();
        CHECK(s.captured == i);
        CHECK(s.pending == 0);
        CHECK(std::filesystem::file_size(c.file) == s.file_bytes);
    }
}

TEST_CASE("packets reach the file after the flush interval without anybody asking") {
    Pool pool;
    CaptureConfig c;
    c.chunks = 2;
    c.flush_interval = Duration::milliseconds(5);
    c.merge_window = Duration::milliseconds(5);
    for (const unsigned taps : {1u, 2u}) {
        auto sink = std::make_unique<TellingSink>();
        TellingSink& telling = *sink;
        auto capture = Capture::start(c, std::move(sink));
        REQUIRE(capture);
        CaptureTap* tap = nullptr;
        for (unsigned i = 0; i < taps; ++i) tap = *(*capture)->add_tap();
        const Packet p(pool.packet(60));
        tap_at(*tap, now_ns(), p.get());
        telling.wait_for_bytes(24 + 16 + 60);  // or the test's timeout
        REQUIRE((*capture)->stop());
        CHECK(telling.bytes().size() == 100);
        check_accounts((*capture)->stats());
    }
}

TEST_CASE("a tap that is removed leaves its packets and its counts") {
    Pool pool;
    const TempDir dir;
    CaptureConfig c;
    c.file = dir.file("a.pcap");
    c.snaplen = 2000;
    c.chunk_bytes = 4096;
    c.chunks = 2;
    auto capture = Capture::start(c);
    REQUIRE(capture);
    const Packet p(pool.packet(1000));
    for (unsigned i = 0; i < 10; ++i) {
        auto tap = (*capture)->add_tap();
        REQUIRE(tap);
        tap_at(**tap, now_ns(), p.get(), 9);  // one too many for two chunks
        (*capture)->remove_tap(*tap);
        if (i % 3 == 0) (*capture)->flush();
    }
    REQUIRE((*capture)->stop());
    const CaptureStats s = (*capture)->stats();
    CHECK(s.received == 90);
    // Unless the writer was so quick that it gave a chunk back within the burst.
    CHECK(s.captured >= 80);
    check_accounts(s);
    CHECK(stamps_of(*pcap::load_file(c.file, 1 << 20)).size() == s.captured);
}

TEST_CASE("a full disk is reported once and every packet is accounted for") {
    Pool pool;
    CaptureConfig c;
    c.chunks = 2;
    auto capture = Capture::start(c, std::make_unique<FullDisk>());
    REQUIRE(capture);
    auto tap = (*capture)->add_tap();
    REQUIRE(tap);
    const Packet p(pool.packet(60));
    for (int i = 0; i < 5; ++i) {
        tap_at(**tap, now_ns(), p.get(), 20);
        (*capture)->flush();
    }
    CHECK_THAT((*capture)->stats().error, Contains("/dev/full\": No space left on device"));
    auto stopped = (*capture)->stop();
    REQUIRE(!stopped);
    CHECK_THAT(stopped.error().message, Contains("/dev/full"));
    const CaptureStats s = (*capture)->stats();
    CHECK(s.received == 100);
    CHECK(s.dropped_write_error == 100);
    CHECK(s.captured == 0);
    check_accounts(s);
}

TEST_CASE("a reader that goes away is a write error, not the end of the process") {
    Pool pool;
    int fds[2];
    REQUIRE(::pipe(fds) == 0);
    CaptureConfig c;
    c.chunks = 2;
    c.file = "/proc/self/fd/" + std::to_string(fds[1]);
    auto capture = Capture::start(c);
    REQUIRE(capture);
    auto tap = (*capture)->add_tap();
    REQUIRE(tap);
    ::close(fds[0]);
    const Packet p(pool.packet(60));
    tap_at(**tap, now_ns(), p.get(), 3);
    (*capture)->flush();
    CHECK_THAT((*capture)->stats().error, Contains("Broken pipe"));
    CHECK(!(*capture)->stop());
    CHECK((*capture)->stats().dropped_write_error == 3);
    ::close(fds[1]);
}

TEST_CASE("captures that cannot start say why and leave the file alone") {
    const TempDir dir;
    CaptureConfig c;
    c.file = dir.file("no/such.pcap");
    auto missing = Capture::start(c);
    REQUIRE(!missing);
    CHECK_THAT(missing.error().message, Contains("No such file or directory"));
    c.file = "/dev/full";
    CHECK_THAT(Capture::start(c).error().message, Contains("No space left"));
    c.file = dir.file("kept");
    c.snaplen = 0;
    CHECK(!Capture::start(c));
    CHECK(!std::filesystem::exists(c.file));
}

TEST_CASE("a capture without packets is a valid file, and goes away by itself") {
    const TempDir dir;
    CaptureConfig c;
    c.file = dir.file("empty.pcap");
    {
        auto capture = Capture::start(c);
        REQUIRE(capture);
        REQUIRE((*capture)->add_tap());
    }
    auto bytes = pcap::load_file(c.file, 1000);
    REQUIRE(bytes);
    CHECK(bytes->size() == 24);
    CHECK(stamps_of(*bytes).empty());
}
