#include "dataplane/port.hpp"

#include <unistd.h>

#include "dataplane/port_stages.hpp"
#include "rig.hpp"

using namespace sluice;
using namespace sluice::dp;
using namespace sluice::dp::test;

namespace {

// Packets that cross between lcores inside a driver do so in a library that TSan does not see
// into, so under TSan both ends are on one lcore.
#if defined(__SANITIZE_THREAD__)
constexpr unsigned kFarLcore = 1;
#else
constexpr unsigned kFarLcore = 2;
#endif

// A rig whose ports outlive the runtime and are given up before the pool.
struct PortRig : Rig {
    std::vector<std::unique_ptr<Port>> ports;

    PortRig() {
        kinds["port_rx"] = PortRx::kind();
        kinds["port_tx"] = PortTx::kind();
    }
    ~PortRig() {
        for (Digest* d : digests) d->open();
        digests.clear();
        runtime.reset();
    }

    Port& open(const std::string& device) {
        PortOptions o;
        o.name = fmt::format("p{}", ports.size());
        o.device = device;
        auto port = Port::open(o, *pool);
        if (!port) FAIL(port.error().message);
        auto started = (*port)->start();
        if (!started) FAIL(started.error().message);
        ports.push_back(std::move(*port));
        return *ports.back();
    }
    std::string refused(const PortOptions& o) {
        auto port = Port::open(o, *pool);
        REQUIRE_FALSE(port);
        CHECK(port.error().message.find('\n') == std::string::npos);
        return port.error().message;
    }
};

void empty(Port& port) {
    rte_mbuf* packets[32];
    while (const unsigned n = port.rx(0, packets, 32)) rte_pktmbuf_free_bulk(packets, n);
}

}  // namespace

TEST_CASE("port: what is sent to a looped ring comes back") {
    PortRig rig;
    Port& port = rig.open("net_ring0");
    CHECK(port.link_up());
    CHECK(port.info().driver == "net_ring");
    auto* digest = new Digest();
    rig.load({{node_on("n", "numbers", 1), node_on("t", "port_tx", 1),
               node_on("r", "port_rx", kFarLcore), node_on("d", "digest", kFarLcore)},
              {edge("n", "t", Backpressure::hold), edge("r", "d")}},
             {{"n", new Numbers(rig.pool->get(), {20000})},
              {"t", new PortTx(port, 0, {true, Duration::microseconds(200)})},
              {"r", new PortRx(port, 0)}, {"d", digest}});
    rig.runtime->start();
    CHECK(eventually([&] { return digest->shown() == 20000; }));
    rig.runtime->stop();
    CHECK(digest->in_order());
    CHECK(rig.all_drops() == 0);
    CHECK(rig.stats("t").own.at(0).second == 20000 * 60);
    CHECK(rig.stats("r").own.at(0).second == 20000 * 60);
    CHECK(rig.stats("r").packets_in == 20000);
    CHECK(port.stats().rx_packets == 20000);
    port.clear_stats();
    CHECK(port.stats().rx_packets == 0);
    CHECK(rig.pool->in_use() == 0);
}

TEST_CASE("port: one that is not drained costs its own packets only") {
    PortRig rig;
    Port& stuck = rig.open("net_ring1");
    Port& fine = rig.open("net_null1");
    rig.load({{node_on("n", "numbers", 1), node_on("t", "port_tx", 1), node_on("n2", "numbers", 1),
               node_on("t2", "port_tx", 1)},
              {edge("n", "t"), edge("n2", "t2")}},
             {{"n", new Numbers(rig.pool->get(), {4000})}, {"t", new PortTx(stuck, 0, {})},
              {"n2", new Numbers(rig.pool->get(), {4000})}, {"t2", new PortTx(fine, 0, {})}});
    rig.runtime->start();
    CHECK(eventually([&] {
        return rig.stats("t").own.at(0).second / 60 + rig.drops("t", DropReason::tx_ring_full) ==
               4000;
    }));
    CHECK(eventually([&] { return rig.stats("t2").own.at(0).second == 4000 * 60; }));
    rig.runtime->stop();
    const std::uint64_t sent = rig.stats("t").own.at(0).second / 60;
    CHECK(sent >= 1023);
    CHECK(sent <= 1024);
    CHECK(rig.all_drops() == 4000 - sent);
    empty(stuck);
    CHECK(rig.pool->in_use() == 0);
}

#if !defined(__SANITIZE_THREAD__)
TEST_CASE("port: a lossless transmitter makes its source rest until the peer drains") {
    PortRig rig;
    Port& port = rig.open("net_ring2");
    const unsigned source = GENERATE(1u, 3u);
    auto* digest = new Digest(false);
    PortTx::Options options;
    options.hold = true;
    rig.load({{node_on("n", "numbers", source), node_on("t", "port_tx", 1),
               node_on("r", "port_rx", 2), node_on("d", "digest", 2)},
              {edge("n", "t", Backpressure::hold, 128), edge("r", "d")}},
             {{"n", new Numbers(rig.pool->get(), {6000})}, {"t", new PortTx(port, 0, options)},
              {"r", new PortRx(port, 0)}, {"d", digest}});
    rig.runtime->start();
    CHECK(eventually([&] { return rig.stats("t").packets_in > 1023; }));
    const std::uint64_t rounds = rig.lcore(source).iterations;
    CHECK(eventually([&] { return rig.lcore(source).iterations > rounds + 200; }));
    CHECK(rig.stats("n").packets_out < 2000);
    digest->open();
    CHECK(eventually([&] { return digest->shown() == 6000; }));
    rig.runtime->stop();
    CHECK(digest->in_order());
    CHECK(rig.all_drops() == 0);
    CHECK(rig.pool->in_use() == 0);
}
#endif

TEST_CASE("port: a backlog is sent before forwarding stops") {
    PortRig rig;
    Port& port = rig.open("net_ring3");
    auto* digest = new Digest();
    PortTx::Options options;
    options.hold = true;
    auto* numbers = new Numbers(rig.pool->get(), {0xffffffff});
    const Graph g{{node_on("n", "numbers", 1), node_on("t", "port_tx", 1),
                   node_on("r", "port_rx", kFarLcore), node_on("d", "digest", kFarLcore)},
                  {edge("n", "t", Backpressure::hold), edge("r", "d")}};
    rig.load(g, {{"n", numbers}, {"t", new PortTx(port, 0, options)}, {"r", new PortRx(port, 0)},
                 {"d", digest}});
    rig.runtime->start();
    for (int round = 0; round < 5; ++round) {
        const std::uint64_t before = digest->shown();
        CHECK(eventually([&] { return digest->shown() > before + 3000; }));
        rig.load(g, {});
    }
    rig.runtime->stop();
    // What is still in the looped ring is neither lost nor here. A backlog that found the ring
    // full, with nobody to drain it any more, is the only thing that may be given up.
    std::uint64_t left = 0;
    rte_mbuf* packets[32];
    while (const unsigned n = port.rx(0, packets, 32)) {
        left += n;
        rte_pktmbuf_free_bulk(packets, n);
    }
    CHECK(rig.stats("n").packets_out == digest->shown() + left + rig.all_drops() +
                                            rig.pool->in_use());
    CHECK(rig.all_drops() == rig.drops("t", DropReason::stopped));
}

TEST_CASE("port: a file that was written can be read") {
    PortRig rig;
    const std::string file = fmt::format("/tmp/sluice_dp_{}.pcap", getpid());
    {
        Port& out = rig.open("net_pcap0,tx_pcap=" + file);
        rig.load({{node_on("n", "numbers", 1), node_on("t", "port_tx", 1)}, {edge("n", "t")}},
                 {{"n", new Numbers(rig.pool->get(), {500})}, {"t", new PortTx(out, 0, {})}});
        rig.runtime->start();
        CHECK(eventually([&] { return rig.stats("t").own.at(0).second == 500 * 60; }));
        rig.runtime->stop();
        rig.load({}, {});
        rig.ports.clear();
    }
    Port& in = rig.open("net_pcap1,rx_pcap=" + file);
    auto* digest = new Digest();
    rig.load({{node_on("r", "port_rx", 1), node_on("d", "digest", 1)}, {edge("r", "d")}},
             {{"r", new PortRx(in, 0)}, {"d", digest}});
    rig.runtime->start();
    CHECK(eventually([&] { return digest->shown() == 500; }));
    rig.runtime->stop();
    CHECK(digest->in_order());
    CHECK(rig.pool->in_use() == 0);
    unlink(file.c_str());
}

TEST_CASE("port: a tap sees what passes in both directions, until it is taken away") {
    struct Tap : PacketTap {
        void tap(LoopCtx&, rte_mbuf* const*, unsigned count, Direction d) noexcept override {
            seen[d == Direction::rx ? 0 : 1].fetch_add(count);
        }
        std::atomic<std::uint64_t> seen[2] = {0, 0};
    };
    PortRig rig;
    Port& port = rig.open("net_ring4");
    auto* digest = new Digest();
    auto* numbers = new Numbers(rig.pool->get(), {0});
    auto* rx = new PortRx(port, 0);
    PortTx::Options options;
    options.hold = true;
    auto* tx = new PortTx(port, 0, options);
    rig.load({{node_on("n", "numbers", 1), node_on("t", "port_tx", 1), node_on("r", "port_rx", 1),
               node_on("d", "digest", 1)},
              {edge("n", "t", Backpressure::hold), edge("r", "d")}},
             {{"n", numbers}, {"t", tx}, {"r", rx}, {"d", digest}});
    Tap tap;
    const auto set = [&](void* to) {
        for (Stage* stage : {static_cast<Stage*>(rx), static_cast<Stage*>(tx)}) {
            Mail mail;
            mail.to = stage;
            mail.type = kMailSetTap;
            mail.pointer = to;
            CHECK(rig.runtime->post(mail));
        }
    };
    rig.runtime->start();
    set(&tap);
    CHECK(rig.post(numbers, 3000));
    CHECK(eventually([&] { return digest->shown() == 3000; }));
    set(nullptr);
    CHECK(rig.post(numbers, 500));
    CHECK(eventually([&] { return digest->shown() == 3500; }));
    rig.runtime->stop();
    CHECK(tap.seen[0] == 3000u);
    CHECK(tap.seen[1] == 3000u);
}

TEST_CASE("port: what cannot be is refused in one sentence that says where") {
    PortRig rig;
    PortOptions o;
    o.name = "up";
    o.where = "x.toml:3";
    o.device = "";
    CHECK(rig.refused(o).rfind("x.toml:3: port 'up' names no device, expected", 0) == 0);
    o.device = "net_nosuch0,iface=/x";
    CHECK(rig.refused(o).rfind("x.toml:3: port 'up': no device can be made from "
                               "'net_nosuch0,iface=/x'", 0) == 0);
    o.device = "net_null5";
    o.rx_queues = 60000;
    CHECK(rig.refused(o).rfind("x.toml:3: port 'up': 60000 rx and 1 tx queues asked for, expected "
                               "1 to ", 0) == 0);
    o.rx_queues = 0;
    CHECK(rig.refused(o).find("0 rx and 1 tx queues asked for") != std::string::npos);
    o.rx_queues = 1;
    o.mtu = 65536 + 1500;
    CHECK(rig.refused(o).find("MTU 67036 refused") != std::string::npos);
    o.mtu = 0;
    {
        auto first = Port::open(o, *rig.pool);
        REQUIRE(first);
        REQUIRE((*first)->start());
        PortOptions again = o;
        again.name = "down";
        CHECK(rig.refused(again) ==
              "x.toml:3: port 'down': device 'net_null5' is in use as port 'up'");
        again.device = "net_null5,size=100";
        CHECK(rig.refused(again).find("there is already a device named net_null5") !=
              std::string::npos);
        CHECK((*first)->link_up());
    }
    // Closed by its owner, it can be made again.
    CHECK(Port::open(o, *rig.pool));
}
