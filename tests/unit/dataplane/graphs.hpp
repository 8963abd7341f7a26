#pragma once

#include <string>

#include "dataplane/plan.hpp"

// Short ways to write graphs down in tests.
namespace sluice::dp::test {

inline KindTable basic_kinds() {
    KindTable kinds;
    const auto add = [&](KindInfo k) { kinds.emplace(k.name, k); };
    add(KindInfo::source_of("gen"));
    add(KindInfo::filter_of("pass"));
    add(KindInfo::filter_of("split", 2));
    add(KindInfo::sink_of("sink"));
    // Receives on inlet 0 and hands up by outlet 0; is given on inlet 1 and sends by outlet 1.
    KindInfo shim;
    shim.name = "shim";
    shim.inlets = 2;
    shim.outlets = 2;
    shim.inlet_reaches = {1, 2};
    add(shim);
    // Transmits, with a backlog to look after.
    KindInfo tx = KindInfo::sink_of("tx");
    tx.source = true;
    add(tx);
    return kinds;
}

inline NodeSpec node(std::string name, std::string kind) {
    NodeSpec n;
    n.name = std::move(name);
    n.kind = std::move(kind);
    return n;
}

inline NodeSpec node_on(std::string name, std::string kind, unsigned lcore) {
    NodeSpec n = node(std::move(name), std::move(kind));
    n.lcore = LcoreId(static_cast<std::uint16_t>(lcore));
    return n;
}

inline NodeSpec node_with(std::string name, std::string kind, std::string other) {
    NodeSpec n = node(std::move(name), std::move(kind));
    n.with = std::move(other);
    return n;
}

inline EdgeSpec edge(std::string from, std::string to,
                     Backpressure backpressure = Backpressure::drop_tail,
                     unsigned capacity = 1024) {
    EdgeSpec e;
    e.from = std::move(from);
    e.to = std::move(to);
    e.backpressure = backpressure;
    e.capacity = capacity;
    return e;
}

inline EdgeSpec edge_at(std::string from, unsigned outlet, std::string to, unsigned inlet) {
    EdgeSpec e = edge(std::move(from), std::move(to));
    e.outlet = outlet;
    e.inlet = inlet;
    return e;
}

inline Placement workers(std::initializer_list<unsigned> ids) {
    Placement p;
    for (unsigned id : ids) p.workers.emplace_back(static_cast<std::uint16_t>(id));
    p.mbuf_cache = 32;
    return p;
}

}  // namespace sluice::dp::test
