#pragma once

#include <rte_mbuf.h>

#include <catch2/catch.hpp>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "capture/capture_config.hpp"
#include "capture/capture_tap.hpp"
#include "capture/drain.hpp"
#include "dataplane/lcore_loop.hpp"
#include "dataplane/stage.hpp"
#include "pcap_writer/pcap_reader.hpp"
#include "pcap_writer/sink_memory.hpp"

namespace sluice::capture::test {

// A pool that must be full again at the end.
class Pool {
  public:
    explicit Pool(unsigned count = 255) : count_(count) {
        static int serial = 0;
        pool_ = rte_pktmbuf_pool_create(("test" + std::to_string(serial++)).c_str(), count, 0, 0,
                                        2048 + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
        REQUIRE(pool_ != nullptr);
    }
    ~Pool() {
        CHECK(rte_mempool_avail_count(pool_) == count_);
        rte_mempool_free(pool_);
    }
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    unsigned available() const { return rte_mempool_avail_count(pool_); }

    // Bytes count up from `first`; segments of at most `segment` bytes.
    rte_mbuf* packet(unsigned length, std::uint8_t first = 0, std::uint16_t segment = 2048) {
        rte_mbuf* head = one();
        rte_mbuf* last = head;
        for (unsigned at = 0; at < length;) {
            const auto n = static_cast<std::uint16_t>(std::min<unsigned>(segment, length - at));
            if (at != 0) {
                last->next = one();
                last = last->next;
                ++head->nb_segs;
            }
            auto* data = reinterpret_cast<std::uint8_t*>(rte_pktmbuf_append(last, n));
            for (unsigned i = 0; i < n; ++i) data[i] = static_cast<std::uint8_t>(first + at + i);
            at += n;
        }
        head->pkt_len = length;
        return head;
    }

  private:
    rte_mbuf* one() {
        rte_mbuf* m = rte_pktmbuf_alloc(pool_);
        REQUIRE(m != nullptr);
        return m;
    }
    unsigned count_;
    rte_mempool* pool_;
};

struct FreeMbuf {
    void operator()(rte_mbuf* m) const noexcept { rte_pktmbuf_free(m); }
};
using Packet = std::unique_ptr<rte_mbuf, FreeMbuf>;

// One packet, `times` times, seen at `now`.
inline void tap_at(CaptureTap& tap, std::int64_t now_ns, rte_mbuf* packet, unsigned times = 1) {
    dp::LoopCtx ctx;
    ctx.now = Instant{now_ns};
    const std::vector<rte_mbuf*> packets(times, packet);
    tap.tap(ctx, packets.data(), times, dp::Direction::rx);
}

struct Got {
    std::int64_t wall_ns;
    std::uint32_t original;
    std::vector<std::uint8_t> data;
};

inline std::vector<Got> records_of(pcap::Bytes file) {
    auto reader = pcap::Reader::open(file, "captured");
    REQUIRE(reader);
    std::vector<Got> all;
    for (;;) {
        auto record = reader->next();
        if (!record) FAIL(record.error().message);
        if (!*record) return all;
        const auto* at = reinterpret_cast<const std::uint8_t*>((*record)->data.data());
        all.push_back({(*record)->wall_ns, (*record)->original,
                       {at, at + (*record)->data.size()}});
    }
}

inline std::vector<std::int64_t> stamps_of(pcap::Bytes file) {
    std::vector<std::int64_t> stamps;
    for (const Got& g : records_of(file)) stamps.push_back(g.wall_ns);
    return stamps;
}

// Chunks of one page, so that edges are met soon.
inline CaptureConfig small_config() {
    CaptureConfig c;
    c.snaplen = 2000;
    c.chunk_bytes = 4096;
    c.chunks = 4;
    c.merge_window = Duration::milliseconds(20);
    return c;
}

// Taps, a drain and a file in memory, without thread and with a clock that stands at zero: time
// of day is the loop's time.
class Bench {
  public:
    explicit Bench(const CaptureConfig& config = small_config(), unsigned taps = 1)
        : config_(config), drain(sink, config) {
        REQUIRE(doorbell.init());
        REQUIRE(drain.write_file_header());
        for (unsigned i = 0; i < taps; ++i) add_tap();
    }

    CaptureTap& add_tap() {
        auto tap = CaptureTap::create(config_, clock, doorbell);
        REQUIRE(tap);
        sources_.push_back(std::make_unique<Source>(std::move(*tap)));
        return *sources_.back()->tap;
    }
    CaptureTap& tap(unsigned i = 0) { return *sources_[i]->tap; }
    Source& source(unsigned i = 0) { return *sources_[i]; }

    bool round(std::int64_t now_ns, Drain::Take take = Drain::Take::ordered) {
        std::vector<Source*> all;
        for (const auto& s : sources_) all.push_back(s.get());
        return drain.round(all, now_ns, take);
    }
    std::vector<std::int64_t> stamps() const { return stamps_of(sink.bytes()); }
    std::vector<Got> records() const { return records_of(sink.bytes()); }

    std::uint64_t received() const { return sum(&TapCounters::received); }
    std::uint64_t no_buffer() const { return sum(&TapCounters::no_buffer); }
    // After a round that took everything.
    void check_accounts() const {
        const DrainCounters& d = drain.counters();
        CHECK(received() == d.captured.get() + d.write_errors.get() + no_buffer());
        CHECK(sum(&TapCounters::recorded) == d.captured.get() + d.write_errors.get());
        CHECK(d.file_bytes.get() == sink.bytes().size());
    }

  private:
    std::uint64_t sum(dp::Counter TapCounters::*which) const {
        std::uint64_t n = 0;
        for (const auto& s : sources_) n += (s->tap->counters().*which).get();
        return n;
    }
    CaptureConfig config_;

  public:
    WallClock clock{WallClock::Reading{}};
    Doorbell doorbell;
    pcap::MemorySink sink;
    Drain drain;

  private:
    std::vector<std::unique_ptr<Source>> sources_;
};

struct TempDir {
    std::string path = (std::filesystem::temp_directory_path() / "sluice-capture-XXXXXX").string();
    TempDir() { REQUIRE(::mkdtemp(path.data()) != nullptr); }
    ~TempDir() { std::filesystem::remove_all(path); }
    std::string file(const char* name) const { return path + "/" + name; }
};

}  // namespace sluice::capture::test
