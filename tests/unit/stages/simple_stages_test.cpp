#include <rte_mbuf.h>

#include <catch2/catch.hpp>
#include <cstring>

#include "dataplane/pdu_meta.hpp"
#include "harness.hpp"
#include "stages/gen_frame.hpp"
#include "stages/simple_stages.hpp"

using namespace sluice;
using namespace sluice::stages;

namespace {

rte_mbuf* packet(std::size_t size = 60) {
    rte_mbuf* const m = rte_pktmbuf_alloc(pool().get());
    REQUIRE(m != nullptr);
    std::memset(rte_pktmbuf_append(m, static_cast<std::uint16_t>(size)), 0x5a, size);
    return m;
}

rte_mbuf* numbered(std::uint64_t seq, std::uint16_t stream = 0) {
    rte_mbuf* const m = packet();
    write_gen(rte_pktmbuf_mtod(m, std::byte*), {1, 2, stream, seq});
    return m;
}

}  // namespace

TEST_CASE("io hands on, null drops and says so") {
    Io io;
    Harness h(io);
    h.process({packet(60), packet(70)});
    CHECK(h.out[0].packets.size() == 2);
    CHECK(h.own(Io::kBytes) == 130);
    h.out[0].clear();
    Null null;
    Harness n(null);
    n.process({packet(), packet(), packet()});
    CHECK(n.drops(DropReason::discarded) == 3);
    CHECK(pool().in_use() == 0);
}

TEST_CASE("a sink finds what is missing, late or not numbered at all") {
    Sink sink;
    Harness h(sink);
    // It may have begun in the middle of a stream.
    h.process({numbered(5), numbered(6), packet(60), packet(10)});
    CHECK(h.own(Sink::kNumbered) == 2);
    CHECK(h.own(Sink::kMissing) == 0);
    CHECK(h.own(Sink::kBytes) == 190);
    h.process({numbered(9), numbered(8), numbered(10)});
    CHECK(h.own(Sink::kMissing) == 2);
    CHECK(h.own(Sink::kLate) == 1);
    CHECK(h.own(Sink::kNumbered) == 5);
    CHECK(pool().in_use() == 0);
}

TEST_CASE("a sink keeps streams apart") {
    Sink sink;
    Harness h(sink);
    for (std::uint16_t s = 0; s < kGenStreams; ++s) h.process({numbered(s * 100u, s)});
    for (std::uint16_t s = 0; s < kGenStreams; ++s) h.process({numbered(s * 100u + 1, s)});
    h.process({numbered(0, kGenStreams)});  // no stream of ours
    CHECK(h.own(Sink::kNumbered) == 2 * kGenStreams);
    CHECK(h.own(Sink::kMissing) == 0);
    CHECK(h.own(Sink::kLate) == 0);
}

TEST_CASE("a sink reads a header that is spread over segments") {
    Sink sink;
    Harness h(sink);
    for (const std::uint64_t seq : {0ull, 2ull}) {
        std::byte frame[60] = {};
        write_gen(frame, {1, 2, 0, seq});
        rte_mbuf* const a = packet(20);
        rte_mbuf* const b = packet(40);
        std::memcpy(rte_pktmbuf_mtod(a, void*), frame, 20);
        std::memcpy(rte_pktmbuf_mtod(b, void*), frame + 20, 40);
        REQUIRE(rte_pktmbuf_chain(a, b) == 0);
        h.process({a});
    }
    CHECK(h.own(Sink::kNumbered) == 2);
    CHECK(h.own(Sink::kMissing) == 1);
    CHECK(pool().in_use() == 0);
}

TEST_CASE("a tee gives both outlets the bytes and each its own header") {
    Tee tee(pool().get());
    Harness h(tee);
    rte_mbuf* const m = packet(60);
    dp::meta_of(m).port_id = 77;
    h.process({m});
    REQUIRE(h.out[0].packets.size() == 1);
    REQUIRE(h.out[1].packets.size() == 1);
    rte_mbuf* const a = h.out[0].packets[0];
    rte_mbuf* const b = h.out[1].packets[0];
    CHECK(bytes_of(a) == bytes_of(b));
    CHECK(dp::meta_of(b).port_id == 77);
    REQUIRE(rte_pktmbuf_adj(a, 10) != nullptr);
    CHECK(b->pkt_len == 60);
    SECTION("freed in either order") {
        h.out[0].clear();
        CHECK(bytes_of(b)[59] == std::byte{0x5a});
        h.out[1].clear();
    }
    SECTION("freed in the other") {
        h.out[1].clear();
        CHECK(bytes_of(a).size() == 50);
        h.out[0].clear();
    }
    CHECK(pool().in_use() == 0);
}

TEST_CASE("a tee whose pool is empty still hands on the packet") {
    Tee tee(pool().get());
    Harness h(tee);
    std::vector<rte_mbuf*> burst = {packet(), packet(), packet()};
    std::vector<rte_mbuf*> hoard;
    while (rte_mbuf* const m = rte_pktmbuf_alloc(pool().get())) hoard.push_back(m);
    rte_pktmbuf_free(hoard.back());
    hoard.pop_back();
    h.process(burst);
    CHECK(h.out[0].packets.size() == 3);
    CHECK(h.out[1].packets.size() == 1);
    CHECK(h.drops(DropReason::no_mbuf) == 2);
    for (rte_mbuf* m : hoard) rte_pktmbuf_free(m);
    h.out[0].clear();
    h.out[1].clear();
    CHECK(pool().in_use() == 0);
}
