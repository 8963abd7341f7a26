#include <rte_mbuf.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <thread>

#include "base/rng.hpp"
#include "harness.hpp"
#include "stages/pcap_file.hpp"
#include "stages/pcap_in.hpp"
#include "stages/pcap_out.hpp"

using namespace sluice;
using namespace sluice::stages;

namespace {

using Bytes = std::vector<std::byte>;

Bytes noise(std::size_t size, std::uint64_t seed) {
    Rng rng(seed);
    Bytes b(size);
    for (auto& x : b) x = static_cast<std::byte>(rng.next());
    return b;
}

void write_file(const std::string& path, const std::vector<std::pair<std::int64_t, Bytes>>& all) {
    auto dump = PcapDump::create(path, 262144);
    REQUIRE(dump);
    for (const auto& [ns, b] : all) {
        REQUIRE((*dump)->write(ns, b, static_cast<std::uint32_t>(b.size())));
    }
}

std::unique_ptr<dp::Stage> made(const char* kind, dp::Params params) {
    auto stage = make_stage(node(kind, std::move(params)), {pool().get()});
    if (!stage) FAIL(stage.error().message);
    return std::move(*stage);
}

rte_mbuf* packet(const Bytes& bytes, std::size_t segment = 2048) {
    rte_mbuf* head = nullptr;
    for (std::size_t at = 0; head == nullptr || at < bytes.size(); at += segment) {
        rte_mbuf* const m = rte_pktmbuf_alloc(pool().get());
        const std::size_t n = std::min(segment, bytes.size() - at);
        std::memcpy(rte_pktmbuf_append(m, static_cast<std::uint16_t>(n)), bytes.data() + at, n);
        if (head == nullptr) {
            head = m;
        } else {
            REQUIRE(rte_pktmbuf_chain(head, m) == 0);
        }
    }
    return head;
}

}  // namespace

TEST_CASE("a file that was written is read back to the nanosecond") {
    TempFile file;
    const std::int64_t ns = 1'700'000'000'123'456'789;
    write_file(file.path(), {{ns, noise(60, 1)}, {ns + 1, noise(1500, 2)}, {ns + 2, noise(1, 3)}});
    const auto packets = read_pcap(file.path(), 65535);
    REQUIRE(packets);
    REQUIRE(packets->items.size() == 3);
    CHECK(packets->items[2].ns == ns + 2);
    const auto second = packets->data(1);
    CHECK(Bytes(second.begin(), second.end()) == noise(1500, 2));
}

TEST_CASE("bad files are refused with the number of the packet") {
    TempFile file;
    const auto error = [&file] {
        const auto packets = read_pcap(file.path(), 1000);
        return packets ? std::string() : packets.error().message;
    };
    CHECK_THAT(error(), Catch::Contains("cannot be read as a pcap file"));
    write_file(file.path(), {});
    CHECK_THAT(error(), Catch::Contains("no packets"));
    write_file(file.path(), {{1, noise(60, 1)}, {2, noise(1001, 1)}});
    CHECK_THAT(error(), Catch::Contains("packet 2 has 1001 bytes, at most 1000"));
    write_file(file.path(), {{1, noise(60, 1)}, {2, noise(60, 1)}});
    std::ifstream in(file.path(), std::ios::binary);
    std::string whole{std::istreambuf_iterator<char>(in), {}};
    in.close();
    std::ofstream(file.path(), std::ios::binary) << whole.substr(0, whole.size() - 10);
    CHECK_THAT(error(), Catch::Contains("packet 2 cannot be read"));
}

TEST_CASE("pcap_in sends the file as often as it is told") {
    TempFile file;
    write_file(file.path(), {{5, noise(60, 1)}, {6, noise(61, 2)}, {7, noise(62, 3)}});
    auto stage = made("pcap_in", {{"file", file.path()}, {"loop", "2"}});
    Harness h(*stage);
    for (int start = 0; start < 2; ++start) {
        CHECK(h.poll(Instant{0}));
        CHECK_FALSE(h.poll(Instant{0}));
        CHECK(h.wait() == dp::Wait::armed);
        REQUIRE(h.out[0].packets.size() == 6);
        for (std::size_t i = 0; i < 6; ++i) {
            CHECK(bytes_of(h.out[0].packets[i]) == noise(60 + i % 3, 1 + i % 3));
        }
        h.out[0].clear();
        h.stop();  // the next start begins anew
    }
    CHECK(h.own(PcapIn::kBytes) == 4 * 183);
    CHECK(h.own(PcapIn::kRounds) == 4);
    auto endless = made("pcap_in", {{"file", file.path()}, {"loop", "0"}});
    Harness e(*endless);
    for (int i = 0; i < 20; ++i) CHECK(e.poll(Instant{0}));
    CHECK(e.out[0].packets.size() == 20 * dp::kRxBurst);
    e.out[0].clear();
    CHECK(pool().in_use() == 0);
}

TEST_CASE("pcap_in keeps the pace of the stamps if told so") {
    TempFile file;
    write_file(file.path(), {{1000, noise(60, 1)}, {4000, noise(60, 2)}, {3000, noise(60, 3)},
                             {9000, noise(60, 4)}});
    auto stage = made("pcap_in", {{"file", file.path()}, {"pace", "original"}});
    Harness h(*stage);
    const Instant start{500};
    CHECK(h.poll(start));
    CHECK(h.out[0].packets.size() == 1);
    CHECK_FALSE(h.poll(start + Duration{2999}));
    CHECK(h.deadline() == start + Duration{3000});
    CHECK(h.wait() == dp::Wait::armed);
    CHECK(h.poll(start + Duration{3000}));
    CHECK(h.out[0].packets.size() == 3);  // the one whose stamp goes back follows at once
    CHECK(h.poll(start + Duration{50'000}));
    CHECK(h.out[0].packets.size() == 4);
    CHECK_FALSE(h.poll(start + Duration{60'000}));
    CHECK(h.deadline().is_never());
}

TEST_CASE("pcap_in chains what an mbuf does not hold") {
    TempFile file;
    write_file(file.path(), {{1, noise(9000, 1)}, {2, noise(2048, 2)}, {3, noise(65535, 3)}});
    auto stage = made("pcap_in", {{"file", file.path()}});
    Harness h(*stage);
    CHECK(h.poll(Instant{0}));
    REQUIRE(h.out[0].packets.size() == 3);
    CHECK(bytes_of(h.out[0].packets[0]) == noise(9000, 1));
    CHECK(h.out[0].packets[0]->nb_segs == 5);
    CHECK(h.out[0].packets[1]->nb_segs == 1);
    CHECK(h.out[0].packets[2]->pkt_len == 65535);
    rte_mbuf_sanity_check(h.out[0].packets[2], 1);
    h.out[0].clear();
    CHECK(pool().in_use() == 0);
}

TEST_CASE("pcap_in goes on where the empty pool stopped it") {
    TempFile file;
    write_file(file.path(), {{1, noise(60, 1)}, {2, noise(9000, 2)}});
    auto stage = made("pcap_in", {{"file", file.path()}});
    Harness h(*stage);
    std::vector<rte_mbuf*> hoard;
    while (rte_mbuf* const m = rte_pktmbuf_alloc(pool().get())) hoard.push_back(m);
    for (int i = 0; i < 3; ++i) {
        rte_pktmbuf_free(hoard.back());
        hoard.pop_back();
    }
    CHECK(h.poll(Instant{0}));
    CHECK(h.out[0].packets.size() == 1);
    CHECK(h.own(PcapIn::kPoolEmpty) == 1);
    CHECK(pool().in_use() == hoard.size() + 1);
    for (rte_mbuf* m : hoard) rte_pktmbuf_free(m);
    CHECK(h.poll(Instant{0}));
    REQUIRE(h.out[0].packets.size() == 2);
    CHECK(bytes_of(h.out[0].packets[1]) == noise(9000, 2));
}

TEST_CASE("pcap_out writes all that it took, at the latest when it goes") {
    TempFile file;
    {
        auto stage = made("pcap_out", {{"file", file.path()}, {"snaplen", "1000"}});
        Harness h(*stage);
        h.process({packet(noise(60, 1)), packet(noise(999, 2), 100)}, Instant{1'000'000});
        h.process({packet(noise(1500, 3), 400), packet(noise(1500, 4))}, Instant{3'000'007});
        CHECK(h.own(PcapOut::kBytes) == 60 + 999 + 3000);
        CHECK_FALSE(h.deadline().is_never());
    }
    const auto packets = read_pcap(file.path(), 65535);
    REQUIRE(packets);
    REQUIRE(packets->items.size() == 4);
    const auto data = [&packets](std::size_t i) {
        const auto d = packets->data(i);
        return Bytes(d.begin(), d.end());
    };
    CHECK(data(0) == noise(60, 1));
    CHECK(data(1) == noise(999, 2));
    Bytes cut = noise(1500, 3);
    cut.resize(1000);
    CHECK(data(2) == cut);
    CHECK(packets->items[1].ns == packets->items[0].ns);
    CHECK(packets->items[2].ns > packets->items[0].ns);
    CHECK(pool().in_use() == 0);
}

TEST_CASE("pcap_out accounts for each packet") {
    // A full disk, a small ring: taken = written + lost, given = taken + dropped.
    const bool full_disk = GENERATE(false, true);
    TempFile file;
    std::uint64_t given = 0;
    std::uint64_t dropped = 0;
    {
        const std::string path = full_disk ? "/dev/full" : file.path();
        auto plain = make_stage(node("pcap_out", {{"file", path}, {"ring", "64"}}),
                                {pool().get()});
        if (full_disk) {
            // Found out at once, because the file header is flushed.
            REQUIRE_FALSE(plain);
            CHECK_THAT(plain.error().message, Catch::Contains("No space left"));
            return;
        }
        REQUIRE(plain);
        Harness h(**plain);
        for (int i = 0; i < 50; ++i) {
            std::vector<rte_mbuf*> burst;
            for (int k = 0; k < 64; ++k) {
                rte_mbuf* const m = rte_pktmbuf_alloc(pool().get());
                if (m == nullptr) break;
                std::memset(rte_pktmbuf_append(m, 60), i, 60);
                burst.push_back(m);
            }
            given += burst.size();
            h.process(burst, Instant{i});
        }
        dropped = h.drops(DropReason::capture_no_buffer);
        CHECK(dropped > 0);
        const auto& out = static_cast<const PcapOut&>(**plain);
        while (out.written() + out.lost() != given - dropped) std::this_thread::yield();
        CHECK(out.lost() == 0);
        h.timeout(Instant{1'000'000'000});
        CHECK(h.own(PcapOut::kWritten) == given - dropped);
        CHECK(h.deadline().is_never());
        h.timeout(Instant{2'000'000'000});
        CHECK(h.own(PcapOut::kWritten) == given - dropped);
    }
    const auto packets = read_pcap(file.path(), 65535);
    REQUIRE(packets);
    CHECK(packets->items.size() == given - dropped);
    CHECK(pool().in_use() == 0);
}
